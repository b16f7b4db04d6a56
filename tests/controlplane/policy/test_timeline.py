"""What held when, put together from revisions, modes and rollouts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.rollouts import Plan, Rollout
from controlplane.policy.rules import Mode
from controlplane.policy.timeline import FOREVER_MS, Held, ModeSet, held_within, timeline
from controlplane.topology.model import ServiceName

CART, WEB = ServiceName("shop", "cart"), ServiceName("shop", "web")
TIMES = st.integers(0, 40)
CHANGES = st.lists(
    st.builds(ModeSet, TIMES, st.sampled_from((CART, WEB)), st.sampled_from(Mode))
    | st.builds(ModeSet, TIMES, st.none(), st.sampled_from((Mode.LEARN, Mode.AUDIT, Mode.ENFORCE))),
    max_size=8,
    unique_by=lambda change: (change.at_ms, change.service),
)


def rollout(began_ms: int, ended_ms: int | None) -> Rollout:
    return Rollout(1, CART, Mode.AUDIT, Plan(20, 60, 0), "cart-0", "ana", began_ms, began_ms, ended_ms=ended_ms)


@given(
    st.lists(TIMES, max_size=5, unique=True),
    CHANGES,
    st.lists(st.builds(rollout, TIMES, st.none() | st.integers(41, 60)), max_size=2),
    st.integers(0, 50),
)
def test_at_each_moment_holds_what_was_changed_last(
    made: list[int], changes: list[ModeSet], ran: list[Rollout], since: int
) -> None:
    revisions = dict(enumerate(sorted(made), 1))
    held = timeline(revisions, changes, ran, since)
    known = [change.at_ms for change in changes if change.service is None]
    assert bool(held) is bool(known)
    assert all(one.until_ms == other.from_ms for one, other in pairwise(held))
    if not held:
        return
    assert (held[0].from_ms, held[-1].until_ms) == (max(since, min(known)), FOREVER_MS)
    for at_ms in range(held[0].from_ms, 65):
        (now,) = held_within(held, at_ms, at_ms + 1)
        before = sorted((change for change in changes if change.at_ms <= at_ms), key=lambda change: change.at_ms)
        assert now.default_mode is [change.mode for change in before if change.service is None][-1]
        assert now.modes == {change.service: change.mode for change in before if change.service is not None}
        assert now.revision == max((number for number, made_ms in revisions.items() if made_ms <= at_ms), default=0)
        running = any(one.created_ms <= at_ms and (one.ended_ms is None or at_ms < one.ended_ms) for one in ran)
        assert now.trial == (frozenset({CART}) if running else frozenset())


def test_while_a_revision_is_rolled_out_the_one_before_holds_beside_it() -> None:
    """And no service enforces by it."""
    staged = replace(rollout(20, 30), revision=2, base=1)
    held = timeline({1: 10, 2: 20, 3: 30}, [ModeSet(0, None, Mode.LEARN)], [staged], 15)
    assert [(one.from_ms, one.revision, one.beside, one.trial) for one in held] == [
        (15, 1, frozenset(), frozenset()), (20, 2, frozenset({1}), frozenset()), (30, 3, frozenset(), frozenset()),
    ]  # fmt: skip


def test_nothing_is_said_of_what_was_before() -> None:
    held = timeline({1: 50}, [ModeSet(10, None, Mode.AUDIT)], [], 0)
    assert held == (Held(10, 50, 0, {}, Mode.AUDIT, frozenset()), Held(50, FOREVER_MS, 1, {}, Mode.AUDIT, frozenset()))
    assert held_within(held, 9, 60) == ()
    assert held_within(held, 20, 50) == held[:1]
    assert held_within(held, 20, 51) == held
