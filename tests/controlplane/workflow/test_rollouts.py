"""Staged rollouts on a real store: sidecars of the stage run another snapshot, and what goes wrong puts all of it back."""

from __future__ import annotations

import msgspec
import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.gate import Gate
from controlplane.policy.rollouts import Plan, Rollout, Stage, Status
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.workflow.modes import Modes
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.revisions import Done, Refused, Why
from controlplane.workflow.rollouts import Rollouts
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.mesh import CART, NOW_MS, TOPOLOGY, TRUST_DOMAIN

NAME = ServiceName("shop", "cart")
PLAN = Plan(50, 60, 1)
EDGE = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/Cart/Add")


class World:
    """A driver with a clock that tests move, and sidecars that take what they are sent."""

    def __init__(self, store: SqlStore, publisher: Publisher) -> None:
        self.store, self.publisher, self.now_ms = store, publisher, NOW_MS
        self.modes = Modes(store, publisher, lambda: self.now_ms, None)
        self.driver = Rollouts(store, publisher, self.modes, lambda: self.now_ms)
        self.instances = ("a", "b", "c", "d")
        self.sequence = 0
        self.save(*(SidecarRow("shop/cart", name, connected=True) for name in self.instances))

    def save(self, *rows: SidecarRow) -> None:
        with self.store.transaction() as transaction:
            transaction.save_sidecars(rows)

    def settle(self) -> None:
        """Each sidecar has what it is to run."""
        staged, base = self.publisher.staged(CART), self.publisher.snapshot(CART)
        assert base is not None
        for name in self.instances:
            version = staged.snapshot.version if staged is not None and staged.rollout.includes(name) else base.version
            self.save(SidecarRow("shop/cart", name, connected=True, sent_version=version, acked_version=version))

    def start(self, plan: Plan = PLAN) -> Rollout:
        begun = self.driver.start([NAME], plan, "ana", "at last")
        assert not isinstance(begun, Refused), begun
        return begun[0]

    def hold(self) -> Rollout:
        """A stage is taken and its time passes."""
        self.settle()
        self.driver.look()
        self.now_ms += PLAN.hold_seconds * 1_000
        self.driver.look()
        return self.newest()

    def newest(self) -> Rollout:
        return self.store.rollouts(1, running=False)[0]

    def deny(self, count: int, behind_ms: int = 0) -> None:
        seen_ms = self.now_ms - behind_ms
        flow = Flow(EDGE, Verdict.DENIED, "shop/cart", "in", count, seen_ms, seen_ms, peer_address="10.0.0.1")
        self.sequence += 1
        with self.store.transaction() as transaction:
            transaction.record_batch("shop/cart", "a", "a" * 32, self.sequence, [flow], 0, self.now_ms)

    def actions(self) -> list[str]:
        return [event.action for event in reversed(self.store.audit(20))]


@pytest.fixture
def world(store: SqlStore, publisher: Publisher) -> World:
    return World(store, publisher)


def test_the_first_sidecar_enforces_and_the_others_keep_their_mode(world: World, changes: list[Change]) -> None:
    before = world.publisher.snapshot(CART)
    begun = world.start()
    assert changes[-1].concerned == {CART}
    staged, now = world.publisher.staged(CART), world.publisher.snapshot(CART)
    assert before is not None
    assert now is not None
    assert staged is not None
    assert now.version == before.version
    assert staged.snapshot.version != before.version
    assert [name for name in world.instances if staged.rollout.includes(name)] == [begun.first]
    assert world.publisher.policy.mode(NAME) is Mode.LEARN


def test_a_service_that_is_named_twice_has_one_rollout(world: World) -> None:
    """Two would each take the other for somebody's mode, and one of them would end."""
    begun = world.driver.start([NAME, NAME], PLAN, "ana")
    assert not isinstance(begun, Refused)
    assert [rollout.service for rollout in begun] == [NAME]


def test_it_goes_through_its_stages_to_enforce(world: World) -> None:
    world.start()
    assert world.hold().stage is Stage.SHARE
    assert world.hold().stage is Stage.ALL
    assert world.publisher.policy.mode(NAME) is Mode.ENFORCE
    assert world.publisher.staged(CART) is None
    assert world.hold().status is Status.DONE
    steps = ["rollout:start", "rollout:advance", "rollout:advance", "service:mode", "rollout:done"]
    assert world.actions() == steps
    assert world.publisher.policy.mode(NAME) is Mode.ENFORCE


def test_denials_count_by_when_they_come_whatever_the_sidecars_clock_says(world: World) -> None:
    """One that is a day behind hides none, and what came before the rollout is not the rollout's."""
    world.deny(9)
    world.start()
    world.settle()
    world.driver.look()
    assert world.newest().status is Status.RUNNING
    world.deny(2, behind_ms=86_400_000)
    world.driver.look()
    assert (world.newest().status, world.newest().reason) == (Status.ROLLED_BACK, "denied connections: 2, at most 1 may be")


def test_a_stage_that_is_not_taken_does_not_go_on(world: World) -> None:
    world.start()
    world.driver.look()
    world.now_ms += PLAN.hold_seconds * 1_000
    world.driver.look()
    assert (world.newest().stage, world.newest().taken_ms) == (Stage.ONE, None)


def test_a_refused_push_takes_it_back(world: World) -> None:
    begun = world.start()
    nack = SidecarRow("shop/cart", begun.first, connected=True, nack_type="LDS", nack_message="no such filter", nack_ms=NOW_MS)
    world.save(nack)
    world.driver.look()
    assert (world.newest().status, world.newest().reason) == (Status.ROLLED_BACK, f"{begun.first} refused it: LDS: no such filter")
    assert world.publisher.staged(CART) is None
    assert world.actions()[-1] == "rollout:rolled-back"


def test_a_spike_of_denials_takes_it_back_from_all_too(world: World) -> None:
    world.start()
    world.hold()
    world.hold()
    world.deny(2)
    world.driver.look()
    assert (world.newest().status, world.newest().stage) == (Status.ROLLED_BACK, Stage.ALL)
    assert world.newest().reason == "denied connections: 2, at most 1 may be"
    assert world.publisher.policy.mode(NAME) is Mode.LEARN


def test_a_few_denials_are_no_spike(world: World) -> None:
    world.start()
    world.deny(1)
    assert world.hold().stage is Stage.SHARE


def test_somebody_takes_it_back_running_or_done(world: World) -> None:
    begun = world.start()
    assert world.driver.roll_back(begun.id, "bob") == Done("shop/cart is back in mode learn")
    assert isinstance(world.driver.roll_back(begun.id, "bob"), Refused)
    done = world.start()
    for _ in Stage:
        world.hold()
    assert world.newest().status is Status.DONE
    assert isinstance(world.driver.roll_back(done.id, "bob"), Done)
    assert world.publisher.policy.mode(NAME) is Mode.LEARN
    assert world.newest().ended_by == "bob"


def test_a_mode_that_somebody_sets_meanwhile_stays(world: World) -> None:
    """A quarantine is not lifted by a stage, not even until the next look."""
    world.start()
    world.modes.change([NAME], Mode.QUARANTINE, "bob")
    assert world.publisher.staged(CART) is None
    world.driver.look()
    assert (world.newest().status, world.newest().reason) == (Status.STOPPED, "somebody set mode quarantine")
    assert world.publisher.policy.mode(NAME) is Mode.QUARANTINE


def test_another_control_plane_on_the_same_store_goes_on(world: World, store: SqlStore) -> None:
    begun = world.start()
    again = Publisher(store, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)
    staged = again.staged(CART)
    assert staged is not None
    assert staged.rollout == begun
    restarted = World(store, again)
    assert restarted.hold().stage is Stage.SHARE


def test_what_cannot_begin_is_refused(world: World, store: SqlStore, publisher: Publisher) -> None:
    def refusal(name: ServiceName) -> tuple[str, Why]:
        refused = world.driver.start([name], PLAN, "ana")
        assert isinstance(refused, Refused)
        return refused.reason, refused.why

    assert refusal(ServiceName("shop", "db"))[0] == "no sidecar of shop/db is connected and accepts what it is sent"
    assert refusal(ServiceName("shop", "nobody")) == ("there is no service shop/nobody", Why.MISSING)
    world.start()
    assert refusal(NAME)[0] == "a rollout of shop/cart is running; roll it back first"
    world.driver.roll_back(1, "ana")
    world.modes.change([NAME], Mode.ENFORCE, "ana")
    assert refusal(NAME)[0] == "shop/cart is in mode enforce; a rollout begins in learn or audit"


def test_the_gate_is_asked_at_the_start(world: World, store: SqlStore, publisher: Publisher) -> None:
    gated = Modes(store, publisher, lambda: NOW_MS, Gate())
    driver = Rollouts(store, publisher, gated, lambda: NOW_MS)
    assert isinstance(driver.start([NAME], PLAN, "ana"), Refused)
    assert store.rollouts(9, running=False) == []
    reason = "the team watched it in staging for a month"
    assert not isinstance(driver.start([NAME], PLAN, "ana", "", reason), Refused)
    assert msgspec.json.decode(store.audit(1)[0].detail)["override"] == reason
