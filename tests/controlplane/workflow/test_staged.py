"""A policy revision in stages, on a real store: who has it when, and what goes wrong puts all of it back."""

from __future__ import annotations

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import rule_sets
from controlplane.policy.rollouts import PATIENCE_MS, Plan, Rollout, Stage, Status
from controlplane.policy.rules import Mode, Rule
from controlplane.store.sql import SqlStore
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.workflow.modes import Modes
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Act, Done, Published, Refused, Revisions
from controlplane.workflow.rollouts import Rollouts
from controlplane.workflow.staged import StagedRevisions
from tests.controlplane.workflow.conftest import Clock
from tests.controlplane.workflow.test_review import CART_TO_DB, learn, proposed
from tests.harness.mesh import CART, DB, WEB

CART_NAME, DB_NAME, WEB_NAME = (ServiceName("shop", name) for name in ("cart", "db", "web"))
PLAN = Plan(50, 60, 1)
INSTANCES = ("a", "b", "c", "d")


class World:
    """Everything enforces, and web may call the cart; sidecars take what they are sent."""

    def __init__(self, store: SqlStore, publisher: Publisher, clock: Clock) -> None:
        self.store, self.publisher, self.clock = store, publisher, clock
        self._sequence = 0
        self.modes = Modes(store, publisher, clock, None)
        self.driver = Rollouts(store, publisher, self.modes, clock)
        self.staged = StagedRevisions(store, publisher, clock)
        self.revisions = Revisions(store, publisher, clock)
        self.modes.change([CART_NAME, DB_NAME, WEB_NAME], Mode.ENFORCE, "ana")
        self.publish({CART_NAME: [Rule(WEB, 7070)]})
        self.settle()

    def publish(self, rules: dict[ServiceName, list[Rule]]) -> int:
        current = self.publisher.policy
        done = self.revisions.publish(current, {**rule_sets(current), **rules}, "ana", Act("policy:apply", "1", "so", {}))
        assert isinstance(done, Published)
        return done.revision

    def begin(self, rules: dict[ServiceName, list[Rule]]) -> Published | Refused:
        current = self.publisher.policy
        wanted = {**rule_sets(current), **rules}
        return self.staged.begin(current, wanted, PLAN, "ana", Act("proposal:approve", "1", "so", {}))

    def version(self, workload: WorkloadId, instance: str) -> str:
        base, staged = self.publisher.snapshot(workload), self.publisher.staged(workload)
        assert base is not None
        return staged.snapshot.version if staged is not None and staged.rollout.includes(instance) else base.version

    def settle(self, *, nack: str = "") -> None:
        rows = [
            SidecarRow(
                str(workload), name, connected=True, acked_version=self.version(workload, name),
                nack_type="ECDS" if name == nack else "", nack_ms=self.clock.now_ms if name == nack else None,
            )
            for workload in (CART, DB, WEB)
            for name in INSTANCES
        ]  # fmt: skip
        with self.store.transaction() as transaction:
            transaction.save_sidecars(rows)

    def hold(self) -> Rollout:
        """A stage is taken and its time passes."""
        self.settle()
        self.driver.look()
        self.clock.now_ms += PLAN.hold_seconds * 1_000
        self.driver.look()
        return self.newest()

    def newest(self) -> Rollout:
        return self.store.rollouts(1, running=False)[0]

    def deny(self, deny_id: str, edge: EdgeKey, count: int = 2) -> None:
        flow = Flow(edge, Verdict.DENIED, edge.destination, "in", count, 5, 5, deny_id=deny_id)
        with self.store.transaction() as transaction:
            self._sequence += 1
            transaction.record_batch(edge.destination, "a", "a" * 32, self._sequence, [flow], 0, 5)

    def having(self, revision: int) -> dict[str, list[str]]:
        """The sidecars that are to run a revision's rules, by workload."""
        trial = self.publisher.in_force.rollouts
        return {
            str(workload): [name for name in INSTANCES if rollout.includes(name)]
            for workload, rollout in trial.items()
            if rollout.revision == revision
        }


@pytest.fixture
def world(store: SqlStore, publisher: Publisher, clock: Clock) -> World:
    return World(store, publisher, clock)


def test_one_of_each_workload_that_it_concerns_then_a_share_then_all(world: World) -> None:
    began = world.begin({DB_NAME: [Rule(CART, 3306)]})
    assert began == Published(2, (CART_NAME, DB_NAME), staged=True)
    assert world.publisher.policy.revision == world.store.active_revision() == 1
    assert {workload: len(names) for workload, names in world.having(2).items()} == {"shop/cart": 1, "shop/db": 1}
    before, staged = world.publisher.snapshot(DB), world.publisher.staged(DB)
    assert before is not None
    assert staged is not None
    assert staged.snapshot.version != before.version
    assert staged.snapshot.revision == 2, "which is what its sidecar is shown with"
    assert world.hold().stage is Stage.SHARE
    assert all(1 <= len(names) < 4 for names in world.having(2).values())
    assert world.hold().stage is Stage.ALL
    assert world.publisher.policy.revision == world.store.active_revision() == 2
    assert world.hold().status is Status.DONE
    actions = [event.action for event in reversed(world.store.audit(20))]
    assert actions[-4:] == ["proposal:approve", "revision:advance", "revision:advance", "revision:done"]


def test_a_refused_push_takes_back_all_of_it_under_a_number_of_its_own(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    first = next(rollout.first for rollout in world.store.rollouts(9, running=True) if rollout.service == DB_NAME)
    world.clock.now_ms += 1
    world.settle(nack=first)
    world.driver.look()
    assert {rollout.status for rollout in world.store.rollouts(9, running=False)} == {Status.ROLLED_BACK}
    now = world.publisher.policy
    assert (now.revision, now.of(DB_NAME).rules, now.of(CART_NAME).rules) == (3, (), (Rule(WEB, 7070),))
    assert now.of(DB_NAME).revoked == {3306: 3}, "so that what only the stage let in is ended"
    assert world.having(2) == {}


@pytest.mark.parametrize("stage", [Stage.ONE, Stage.ALL])
def test_calls_that_only_it_denies_take_it_back_and_others_do_not(world: World, stage: Stage) -> None:
    """An attack that goes on under the new name was denied before, too."""
    world.begin({CART_NAME: []})
    while world.newest().stage is not stage:
        world.hold()
    world.settle()
    world.deny("deny:shop/cart@r2", EdgeKey("shop/evil", "shop/cart", 7070, "http"), 50)
    world.driver.look()
    assert world.newest().status is Status.RUNNING
    world.deny("deny:shop/cart@r1", EdgeKey("shop/web", "shop/cart", 7070, "http"), 50)
    world.driver.look()
    assert world.newest().status is Status.RUNNING
    world.deny("deny:shop/cart@r2", EdgeKey("shop/web", "shop/cart", 7070, "http"))
    world.driver.look()
    assert world.newest().status is Status.ROLLED_BACK
    assert world.newest().reason == "denied connections: 2, at most 1 may be"
    assert world.publisher.policy.of(CART_NAME).rules == (Rule(WEB, 7070),)


def test_what_somebody_publishes_meanwhile_stays_and_ends_it(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    assert world.publish({WEB_NAME: [Rule(DB, 80)]}) == 3
    assert world.having(2) == {}
    world.driver.look()
    assert (world.newest().status, world.newest().reason) == (Status.STOPPED, "revision 3 was published")
    now = world.publisher.policy
    assert (now.revision, now.of(DB_NAME).rules, now.of(WEB_NAME).rules) == (4, (), (Rule(DB, 80),))


def test_a_pause_holds_it_and_a_stop_ends_it_where_it_is(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    number = world.newest().id
    assert world.driver.pause(number, "cy", paused=True) == Done(f"rollout {number} waits in its stage")
    assert world.hold().stage is Stage.ONE
    assert {rollout.paused_by for rollout in world.store.rollouts(9, running=True)} == {"cy"}
    assert world.driver.pause(number, "cy", paused=False) == Done(f"rollout {number} goes on")
    world.driver.look()
    assert world.newest().stage is Stage.SHARE
    assert world.driver.stop(number, "cy") == Done("revision 2 is in force nowhere")
    assert world.publisher.policy.of(DB_NAME).rules == ()
    assert isinstance(world.driver.stop(number, "cy"), Refused)
    assert isinstance(world.driver.pause(number, "cy", paused=True), Refused)
    assert isinstance(world.driver.roll_back(number, "cy"), Refused)


def test_a_stop_in_the_last_stage_leaves_it_in_force(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    world.hold()
    assert world.hold().stage is Stage.ALL
    assert world.driver.stop(world.newest().id, "cy") == Done("revision 2 stays in force and is not watched any more")
    assert world.publisher.policy.revision == 2


def test_a_person_takes_it_back_while_it_is_running(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    assert world.driver.roll_back(world.newest().id, "cy") == Done("revision 2 is taken back")
    assert {rollout.status for rollout in world.store.rollouts(9, running=False)} == {Status.ROLLED_BACK}


def test_what_nobody_takes_is_taken_back(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    world.clock.now_ms += PATIENCE_MS
    world.driver.look()
    assert world.newest().status is Status.ROLLED_BACK


def test_what_is_in_a_stage_does_not_await_review_until_it_is_taken_back(world: World, review: Review) -> None:
    learn(world.store, CART_TO_DB)
    assert proposed(review).number == 1
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    assert review.refresh_proposal() is None
    first = next(rollout.first for rollout in world.store.rollouts(9, running=True) if rollout.service == DB_NAME)
    world.clock.now_ms += 1
    world.settle(nack=first)
    world.driver.look()
    assert proposed(review).number == 2


def test_one_rollout_is_enough_at_a_time(world: World) -> None:
    world.begin({DB_NAME: [Rule(CART, 3306)]})
    again = world.begin({CART_NAME: []})
    assert isinstance(again, Refused)
    assert again.reason == "a rollout is under way; a revision waits until it has ended"
    world.modes.change([WEB_NAME], Mode.AUDIT, "ana")
    assert isinstance(world.driver.start([WEB_NAME], PLAN, "ana"), Refused)


def test_without_a_sidecar_that_it_concerns_it_does_not_begin(world: World) -> None:
    with world.store.transaction() as transaction:
        transaction.save_sidecars(
            [SidecarRow(str(workload), name, connected=False) for workload in (CART, DB, WEB) for name in INSTANCES]
        )
    refused = world.begin({DB_NAME: [Rule(CART, 3306)]})
    assert isinstance(refused, Refused)
    assert world.store.active_revision() == 1
    assert world.store.revisions(9)[0].number == 1
