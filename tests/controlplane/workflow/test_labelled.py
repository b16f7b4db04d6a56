"""Modes by label: for services that nobody decided on, with an audit event each, and never past the gate."""

from __future__ import annotations

import pytest

from controlplane.graph.gate import Gate
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.topology.model import ServiceName
from controlplane.workflow.labelled import LabelledModes
from controlplane.workflow.modes import Modes
from controlplane.workflow.publish import Publisher
from tests.harness.mesh import NOW_MS

CART, DB, WEB = (ServiceName("shop", name) for name in ("cart", "db", "web"))


def modes(store: SqlStore, publisher: Publisher, gate: Gate | None = None) -> Modes:
    return Modes(store, publisher, lambda: NOW_MS, gate)


def events(store: SqlStore) -> list[tuple[str, str]]:
    return [(row.actor, row.subject) for row in reversed(store.audit(20)) if row.action == "service:mode"]


def test_services_begin_in_the_mode_that_their_namespace_asks_for(store: SqlStore, publisher: Publisher) -> None:
    labelled = LabelledModes(store, publisher, modes(store, publisher))
    labelled.follow({"shop": "audit", "elsewhere": "enforce"})
    assert [publisher.policy.mode(name) for name in (CART, DB, WEB)] == [Mode.AUDIT] * 3
    assert events(store) == [("label of namespace shop", f"shop/{name}") for name in ("cart", "db", "web")]
    labelled.follow({"shop": "audit", "elsewhere": "enforce"})
    assert len(events(store)) == 3


def test_what_a_person_decided_stays(store: SqlStore, publisher: Publisher) -> None:
    by_hand = modes(store, publisher)
    labelled = LabelledModes(store, publisher, by_hand)
    by_hand.change([CART], Mode.ENFORCE, "ana")
    labelled.follow({"shop": "audit"})
    by_hand.change([DB], Mode.QUARANTINE, "ana")
    labelled.follow({"shop": "learn"})
    assert [publisher.policy.mode(name) for name in (CART, DB, WEB)] == [Mode.ENFORCE, Mode.QUARANTINE, Mode.LEARN]
    labelled.follow({})
    assert publisher.policy.mode(WEB) is Mode.LEARN


def test_after_a_restart_a_mode_that_was_set_counts_as_decided(store: SqlStore, publisher: Publisher) -> None:
    LabelledModes(store, publisher, modes(store, publisher)).follow({"shop": "audit"})
    LabelledModes(store, publisher, modes(store, publisher)).follow({"shop": "learn"})
    assert publisher.policy.mode(CART) is Mode.AUDIT


@pytest.mark.parametrize("text", ["quarantine", "Enforce", "", "off"])
def test_what_is_no_mode_to_begin_with_is_told_once(
    store: SqlStore, publisher: Publisher, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = LabelledModes(store, publisher, modes(store, publisher))
    labelled.follow({"shop": text})
    labelled.follow({"shop": text})
    assert publisher.policy.mode(CART) is Mode.LEARN
    assert capsys.readouterr().out.count("is not one of audit, enforce, learn") == 1


def test_the_gate_holds_for_labels_too(store: SqlStore, publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = LabelledModes(store, publisher, modes(store, publisher, Gate()))
    labelled.follow({"shop": "enforce"})
    labelled.follow({"shop": "enforce"})
    assert publisher.policy.mode(CART) is Mode.LEARN
    assert capsys.readouterr().out.count("shop/cart: stays in learn") == 1
    assert events(store) == []
