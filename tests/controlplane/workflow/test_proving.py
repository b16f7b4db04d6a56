"""What is proved when, by whom, and what is kept of it; on a real store, with sidecars that answer as tests say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.proofs import Answer, Proof, Status, server_name
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.workflow.modes import Modes
from controlplane.workflow.proofs import Proofs
from controlplane.workflow.proving import IDLE_MS, PATIENCE_MS, RETRY_MS, Proving
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Refused
from tests.controlplane.workflow.conftest import Clock
from tests.harness.mesh import CART, WEB

NAME = ServiceName("shop", "cart")
WEB_0 = (WEB, "web-0")


class World:
    """A driver, whose sidecars take what they are sent."""

    def __init__(self, store: SqlStore, publisher: Publisher, clock: Clock) -> None:
        self.store, self.publisher, self.clock = store, publisher, clock
        self.ended: list[Proof] = []
        self.driver = Proving(store, publisher, clock, 24, self.ended.append)
        self.asking = Proofs(store, publisher, clock)
        self.modes = Modes(store, publisher, clock, None)

    def mode(self, mode: Mode) -> None:
        self.modes.change([NAME], mode, "ana")
        self.settle()

    def settle(self, version: str = "") -> None:
        snapshot = self.publisher.snapshot(CART)
        assert snapshot is not None
        row = SidecarRow("shop/cart", "cart-0", connected=True, acked_version=version or snapshot.version)
        with self.store.transaction() as transaction:
            transaction.save_sidecars([row])

    def look(self, *listening: tuple[WorkloadId, str], after_ms: int = 0) -> Sequence[Proof]:
        self.clock.now_ms += after_ms
        self.driver.look(listening)
        return self.driver.look(listening) or self.store.proofs(9, open_only=True)

    def tried(self, *, answer: Answer = Answer.REFUSED, logged: bool = True) -> Proof:
        """The web tries it, and this is what comes of it."""
        (proof,) = self.look(WEB_0)
        assert (proof.status, proof.source, proof.instance) == (Status.TRYING, "shop/web", "web-0")
        if logged:
            now_ms = self.clock.now_ms
            edge = EdgeKey("shop/web", "shop/cart", 7070, "http", "HEAD", "/.well-known/picket-probe")
            name = server_name(proof.mark)
            flow = Flow(edge, Verdict.DENIED, "shop/cart", "in", 1, now_ms, now_ms, server_name=name, deny_id="deny:shop/cart@r0")
            with self.store.transaction() as transaction:
                transaction.record_batch("shop/cart", "cart-0", "a" * 32, proof.id, [flow], 0, now_ms)
        self.driver.answered(WEB_0, proof.mark, answer, "HTTP\n403")
        self.look(WEB_0)
        return self.store.proofs(1)[0]

    def actions(self) -> list[str]:
        return [event.action for event in reversed(self.store.audit(20))]


@pytest.fixture
def world(store: SqlStore, publisher: Publisher, clock: Clock) -> World:
    return World(store, publisher, clock)


def test_nothing_is_tried_before_it_enforces_and_its_sidecars_run_that(world: World) -> None:
    assert world.look(WEB_0) == []
    world.modes.change([NAME], Mode.ENFORCE, "ana")
    world.settle("older")
    assert world.look(WEB_0, after_ms=IDLE_MS) == []
    world.settle()
    assert world.tried().status is Status.PROVEN
    assert [proof.status for proof in world.ended] == [Status.PROVEN]
    assert world.store.proofs(1)[0].told == "HTTP?403"
    assert "proof:failed" not in world.actions()


def test_what_is_proved_is_tried_again_after_a_change_and_after_a_day(world: World) -> None:
    world.mode(Mode.ENFORCE)
    world.tried()
    assert world.look(WEB_0, after_ms=IDLE_MS) == []
    world.mode(Mode.AUDIT)
    assert world.look(WEB_0, after_ms=IDLE_MS) == []
    world.clock.now_ms += 1
    world.mode(Mode.ENFORCE)
    assert world.tried().id == 2
    assert len(world.look(WEB_0, after_ms=24 * 3_600_000 + 1)) == 1


def test_a_quarantine_is_proved_like_any_enforcement(world: World) -> None:
    world.mode(Mode.ENFORCE)
    world.tried()
    world.clock.now_ms += 1
    world.mode(Mode.QUARANTINE)
    assert world.tried().id == 2


def test_what_is_let_through_is_an_alarm(world: World) -> None:
    world.mode(Mode.ENFORCE)
    failed = world.tried(answer=Answer.PASSED, logged=False)
    assert (failed.status, failed.reason) == (Status.FAILED, "let through: HTTP?403")
    event = next(event for event in world.store.audit(20) if event.action == "proof:failed")
    assert event.subject == "shop/cart"
    assert msgspec.json.decode(event.detail)["reason"] == failed.reason


def test_an_answer_counts_only_from_whom_it_was_asked_and_once(world: World) -> None:
    world.mode(Mode.ENFORCE)
    (proof,) = world.look(WEB_0)
    for who, mark in (((WEB, "web-1"), proof.mark), ((CART, "web-0"), proof.mark), (WEB_0, "f" * 32)):
        world.driver.answered(who, mark, Answer.PASSED, "")
    assert world.store.proofs(1)[0].answer is Answer.NONE
    world.driver.answered(WEB_0, proof.mark, Answer.REFUSED, "")
    world.driver.answered(WEB_0, proof.mark, Answer.PASSED, "")
    assert world.store.proofs(1)[0].answer is Answer.REFUSED


def test_without_anybody_to_try_it_says_so_and_waits_for_somebody(world: World) -> None:
    world.mode(Mode.ENFORCE)
    assert [proof.status for proof in world.look((CART, "cart-1"))] == [Status.ASKED]
    world.look(after_ms=PATIENCE_MS + 1)
    ended = world.store.proofs(1)[0]
    assert (ended.status, ended.reason) == (Status.NOT_TRIED, "no sidecar that may not call it is connected and willing to try")
    assert world.look(after_ms=IDLE_MS) == []
    world.clock.now_ms += IDLE_MS
    assert world.tried().status is Status.PROVEN


def test_what_is_not_reached_is_tried_again_much_later(world: World) -> None:
    world.mode(Mode.ENFORCE)
    assert world.tried(answer=Answer.UNREACHED, logged=False).status is Status.NOT_TRIED
    assert world.look(WEB_0, after_ms=IDLE_MS) == []
    assert len(world.look(WEB_0, after_ms=RETRY_MS)) == 1


def test_a_change_while_it_is_tried_is_no_alarm(world: World) -> None:
    world.mode(Mode.ENFORCE)
    (proof,) = world.look(WEB_0)
    world.driver.answered(WEB_0, proof.mark, Answer.PASSED, "HTTP 200")
    world.mode(Mode.LEARN)
    world.look(WEB_0)
    assert world.store.proofs(1)[0].status is Status.NOT_TRIED


def test_people_may_ask_for_what_enforces_alone(world: World) -> None:
    refused = world.asking.ask([NAME], "ana")
    assert isinstance(refused, Refused)
    assert refused.reason == "shop/cart is in mode learn, which drops nothing: there is nothing to prove"
    assert isinstance(world.asking.ask_all("ana"), Refused)
    assert isinstance(world.asking.ask([ServiceName("shop", "x")], "ana"), Refused)
    world.mode(Mode.ENFORCE)
    asked = world.asking.ask([NAME], "ana")
    assert not isinstance(asked, Refused)
    assert [(proof.target.port, proof.actor, proof.status) for proof in asked] == [(7070, "ana", Status.ASKED)]
    assert world.asking.ask_all("cy") == asked, "one that waits is enough for both"
    assert world.actions()[-2:] == ["proof:ask", "proof:ask"]
    off = Proofs(world.store, world.publisher, world.clock, enabled=False)
    assert isinstance(off.ask([NAME], "ana"), Refused)


def test_one_sidecar_tries_one_thing_at_a_time(world: World) -> None:
    """Also where another control plane gave it something to try."""
    world.mode(Mode.ENFORCE)
    (first,) = world.look(WEB_0)
    other = replace(first, id=0, target=first.target._replace(address="10.9.9.9"), status=Status.ASKED)
    with world.store.transaction() as transaction:
        transaction.add_proof(other)
    assert world.driver.look([WEB_0]) == []
    assert [proof.target.address for proof in world.driver.look([WEB_0, (WEB, "web-1")])] == ["10.9.9.9"]
