"""The step to enforce passes a gate; whoever passes it without being ready leaves a reason."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.evidence import DAY_MS, HOUR_MS
from controlplane.graph.gate import Gate
from controlplane.policy.rules import Mode
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.store.sql import SqlStore
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Refused, Why
from tests.harness.mesh import NOW_MS

CART, DB = ServiceName("shop", "cart"), ServiceName("shop", "db")
EDGE = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/Cart/Add")
REASON = "the team watched it in staging for a month"


@pytest.fixture
def gated(store: SqlStore, publisher: Publisher) -> Review:
    """A review with the default gate."""
    return Review(store, publisher, lambda: NOW_MS, Gate())


def watch(store: SqlStore, days: int, service: str = "shop/cart") -> None:
    """A service was watched and used every hour of so many days, and one replica started after the first."""
    for number, at_ms in enumerate(hours(days)):
        flow = Flow(EDGE, Verdict.ALLOWED, service, "in", 1, at_ms, at_ms, peer_address="10.0.0.1")
        epoch = ("b" if number > 30 else "a") * 32
        with store.transaction() as transaction:
            transaction.record_batch(service, "0", epoch, number + 1 if number <= 30 else number - 30, [flow], 0, at_ms)


def hours(days: int) -> Iterator[int]:
    start = NOW_MS // DAY_MS * DAY_MS - days * DAY_MS
    return iter(range(start, start + days * DAY_MS, HOUR_MS))


def audited(store: SqlStore) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(store.audit(1)[0].detail)
    return found


def test_a_service_that_was_not_watched_is_not_enforced(gated: Review, store: SqlStore) -> None:
    refused = gated.modes.change([CART], Mode.ENFORCE, "ana")
    assert isinstance(refused, Refused)
    assert refused.why is Why.CONFLICT
    assert "shop/cart is not ready to be enforced: too early to say: 0 whole days watched" in refused.reason
    assert store.modes() == {}
    assert store.audit(9) == []


def test_a_week_of_the_same_is_enough(gated: Review, store: SqlStore) -> None:
    watch(store, 8)
    assert isinstance(gated.modes.change([CART], Mode.ENFORCE, "ana"), Done)
    assert audited(store) == {"mode": "enforce", "before": "learn", "comment": ""}


def test_one_that_is_not_ready_holds_all_back(gated: Review, store: SqlStore) -> None:
    watch(store, 8)
    refused = gated.modes.change([CART, DB], Mode.ENFORCE, "ana")
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("1 of 2 services are not ready to be enforced, such as shop/db: ")
    assert store.modes() == {}


def test_a_reason_passes_and_stands_with_what_was_missing(gated: Review, store: SqlStore) -> None:
    assert isinstance(gated.modes.change([CART], Mode.ENFORCE, "ana", "go", REASON), Done)
    detail = audited(store)
    assert (detail["override"], detail["comment"]) == (REASON, "go")
    assert detail["readiness"] == "too early to say: 0 whole days watched, 5 are needed"
    assert "whole days watched: 0, the gate wants 7" in str(detail["missing"])


@pytest.mark.parametrize("reason", ["because", " " * 40, "\x07" * 40, "x" * 2000])
def test_a_reason_that_says_nothing_passes_nothing(gated: Review, store: SqlStore, reason: str) -> None:
    refused = gated.modes.change([CART], Mode.ENFORCE, "ana", "", reason)
    assert isinstance(refused, Refused)
    assert refused.why is Why.INVALID
    assert store.modes() == {}


def test_other_steps_ask_no_gate(gated: Review) -> None:
    """Back from quarantine is none: the service was enforced before, or will be asked when it is not."""
    for mode in (Mode.AUDIT, Mode.QUARANTINE, Mode.ENFORCE, Mode.LEARN):
        assert isinstance(gated.modes.change([CART], mode, "ana"), Done)
    assert isinstance(gated.modes.change([CART], Mode.ENFORCE, "ana"), Refused)


def test_applied_documents_pass_the_same_gate(gated: Review, store: SqlStore) -> None:
    documents = [TrafficPolicy(CART, (), Mode.ENFORCE)]
    assert isinstance(gated.documents.apply(documents, "ana"), Refused)
    assert store.modes() == {}
    gated.documents.apply(documents, "ana", override_reason=REASON)
    assert store.modes() == {CART: Mode.ENFORCE}


def test_readiness_names_what_the_gate_wants(gated: Review, store: SqlStore) -> None:
    watch(store, 2)
    (_, whole), ((cart, blocking),) = gated.modes.verdicts()
    assert (cart.subject, cart.full_days, cart.edges) == ("shop/cart", 2, 1)
    assert blocking is not None
    assert whole is not None
    (_, [(db, _)]) = gated.modes.verdicts("shop/db")
    assert (db.subject, db.edges, db.full_days) == ("shop/db", 0, 0)
