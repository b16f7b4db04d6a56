"""What held when: the revision, the modes and the rollouts under way, from one change to the next. Pure; reads no clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from controlplane.policy.rollouts import Rollout
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName

#: Later than any change (Unix milliseconds).
FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class ModeSet:
    """A service has a mode from then on (Unix milliseconds); without a service, all that have none of their own."""

    at_ms: int
    service: ServiceName | None
    mode: Mode


@dataclass(frozen=True, slots=True)
class Held:
    """What held from a moment until before another (Unix milliseconds).

    Some sidecars of the services on ``trial`` enforced already: a staged rollout was under way. While one of a revision was, some
    had the revisions ``beside``.
    """

    from_ms: int
    until_ms: int
    revision: int
    modes: Mapping[ServiceName, Mode]
    default_mode: Mode
    trial: frozenset[ServiceName]
    beside: frozenset[int] = frozenset()


def timeline(
    revisions: Mapping[int, int], changes: Iterable[ModeSet], rollouts: Iterable[Rollout], since_ms: int
) -> tuple[Held, ...]:
    """What held since then, oldest first and without gaps; it begins where the mode of all is known.

    ``revisions`` are the times at which each came into force, by number.
    """
    waiting = deque(sorted(changes, key=lambda change: change.at_ms))
    first_ms = next((change.at_ms for change in waiting if change.service is None), None)
    if first_ms is None:
        return ()
    begin_ms = max(first_ms, since_ms)
    ran = [rollout for rollout in rollouts if _end_of(rollout) > begin_ms]
    moments = {*revisions.values(), *(change.at_ms for change in waiting)}
    moments.update(moment for rollout in ran for moment in (rollout.created_ms, _end_of(rollout)))
    cuts = [begin_ms, *sorted(moment for moment in moments if begin_ms < moment < FOREVER_MS), FOREVER_MS]
    made = sorted((at_ms, number) for number, at_ms in revisions.items())
    modes: Mapping[ServiceName, Mode] = {}
    default_mode = Mode.LEARN
    held: list[Held] = []
    for from_ms, until_ms in pairwise(cuts):
        fresh: dict[ServiceName, Mode] = {}
        while waiting and waiting[0].at_ms <= from_ms:
            change = waiting.popleft()
            if change.service is None:
                default_mode = change.mode
            else:
                fresh[change.service] = change.mode
        modes = {**modes, **fresh} if fresh else modes
        position = bisect_right(made, (from_ms, math.inf))
        now = [rollout for rollout in ran if rollout.created_ms <= from_ms < _end_of(rollout)]
        trial = frozenset(rollout.service for rollout in now if rollout.revision is None)
        beside = frozenset(rollout.base for rollout in now if rollout.revision is not None)
        held.append(Held(from_ms, until_ms, made[position - 1][1] if position else 0, modes, default_mode, trial, beside))
    return tuple(held)


def held_within(held: Sequence[Held], from_ms: int, until_ms: int) -> Sequence[Held]:
    """What held at some moment between those, the second one excluded; empty when the beginning is not known."""
    first = bisect_right(held, from_ms, key=lambda one: one.from_ms) - 1
    if first < 0:
        return ()
    return held[first : bisect_right(held, until_ms - 1, key=lambda one: one.from_ms)]


def _end_of(rollout: Rollout) -> int:
    return FOREVER_MS if rollout.ended_ms is None else rollout.ended_ms
