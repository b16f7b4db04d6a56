"""The calls of a demo: those that are expected, and those that must not arrive. Makes them and finds them again; never judges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from controlplane.api.schemas import MapEdge, Violation
from controlplane.demo.driver import Application, Markers, together
from controlplane.demo.plan import Placed, Plan, Use
from controlplane.demo.services.messages import Call, Outcome, Received
from controlplane.policy.evaluate import http_matches
from controlplane.policy.rules import HttpMatch
from controlplane.topology.model import ServiceName
from controlplane.topology.protocol import Handling, handling

#: Calls that are under way at a time, in all applications together.
MAX_UNDER_WAY = 48
EXPECTED_TIMEOUT_SECONDS = 20.0
#: A refusal takes milliseconds; what is neither refused nor answered by then is not going to arrive.
UNEXPECTED_TIMEOUT_SECONDS = 5.0
#: Source, destination and port, as the topology file calls them.
EdgeName = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call to make. ``source`` and ``direction`` are what the log calls it if it is blocked."""

    use: Use
    caller: Placed
    order: Call
    source: str
    direction: str = "out"
    expected: bool = False

    def __str__(self) -> str:
        what = f"{self.order.method} {self.order.path}".strip()
        return f"{self.source} → {self.use.destination}:{self.use.port} {what or self.use.protocol}"


@dataclass(frozen=True, slots=True)
class Stolen:
    """A workload's identity as files (PEM): key and chain, and whom its peers are checked against."""

    identity_file: str
    peers_file: str


class Tour:
    """Makes the calls of one plan."""

    def __init__(self, plan: Plan, authority_file: Path) -> None:
        self._plan = plan
        self._authority_file = str(authority_file)
        self._markers = Markers()

    def expected(self) -> list[Attempt]:
        """Every declared request, as the source's application makes it."""
        return [replace(self._own(use, EXPECTED_TIMEOUT_SECONDS), expected=True) for use in self._plan.expected()]

    def unexpected(self) -> list[Attempt]:
        """Every pair that is no edge, as the source's application makes it: the source's own sidecar has to refuse."""
        return [self._own(use, UNEXPECTED_TIMEOUT_SECONDS) for use in self._plan.unexpected()]

    def bypass(self, stolen: Mapping[ServiceName, Stolen]) -> Iterator[Attempt]:
        """The same pairs from elsewhere with the source's identity, and every port without any: the destination has to refuse."""
        for use in self._plan.unexpected():
            if self._plan.placed[use.destination].service.meshed:
                yield self._foreign(use, stolen[use.source], self._plan.placed[use.source].flow_source)
        for use in self._plan.every_port():
            yield self._foreign(use, Stolen("", ""), "")

    def _own(self, use: Use, timeout_seconds: float) -> Attempt:
        caller = self._plan.placed[use.source]
        source_address = "" if caller.service.meshed else caller.address
        order = self._order(use, self._plan.dialled(use), timeout_seconds, source_address)
        return Attempt(use, caller, order, caller.flow_source, "out" if caller.service.meshed else "in")

    def _foreign(self, use: Use, stolen: Stolen, source: str) -> Attempt:
        intruder = self._plan.intruders[self._plan.placed[use.source].index % len(self._plan.intruders)]
        order = self._order(use, self._plan.endpoint(use), UNEXPECTED_TIMEOUT_SECONDS, intruder.address)
        order = msgspec.structs.replace(order, identity_file=stolen.identity_file, peers_file=stolen.peers_file)
        return Attempt(use, intruder, order, source or intruder.flow_source, "in")

    def _order(self, use: Use, dialled: tuple[str, int], timeout_seconds: float, source_address: str) -> Call:
        return Call(
            0, *dialled, use.protocol, self._markers.next(), use.destination.name, use.method, use.path, timeout_seconds,
            self._authority_file, source_address=source_address,
        )  # fmt: skip


def mixed(*several: Sequence[Attempt]) -> list[Attempt]:
    """All of them in one order that begins and ends with some of each, the same in every run."""
    placed = [((number + 0.5) / len(attempts), attempt) for attempts in several for number, attempt in enumerate(attempts)]
    return [attempt for _, attempt in sorted(placed, key=lambda item: item[0])]


async def make(attempts: Sequence[Attempt], applications: Mapping[ServiceName, Application]) -> list[tuple[Attempt, Outcome]]:
    """Make calls, many at a time. Outcomes are in the order of the attempts.

    Raises:
        DriverError: an application is gone.
    """
    room = asyncio.Semaphore(MAX_UNDER_WAY)

    async def one(attempt: Attempt) -> tuple[Attempt, Outcome]:
        async with room:
            return attempt, await applications[attempt.caller.service.name].call(attempt.order)

    return await together(one(attempt) for attempt in attempts)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What all applications received: each marker with its service, and calls without one by service and port."""

    marked: frozenset[tuple[ServiceName, str]]
    unmarked: Mapping[tuple[ServiceName, int], int]

    def at_its_destination(self, attempt: Attempt) -> bool:
        """Whether an attempt's call arrived where it was meant to go."""
        return (attempt.use.destination, attempt.order.marker) in self.marked

    def anywhere(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """The attempts whose call arrived, wherever that was."""
        seen = {marker for _, marker in self.marked}
        return [attempt for attempt in attempts if attempt.order.marker in seen]


async def ask(applications: Mapping[ServiceName, Application]) -> Arrived:
    """Ask every application what it received so far.

    Raises:
        DriverError: an application is gone.
    """
    names = list(applications)
    answers: list[Received] = await together(applications[name].received() for name in names)
    both = list(zip(names, answers, strict=True))
    return Arrived(
        frozenset((name, marker) for name, answer in both for marker in answer.marked),
        {(name, port): count for name, answer in both for port, count in answer.unmarked.items()},
    )


def unseen(uses: Iterable[Use], edges: Mapping[EdgeName, MapEdge]) -> list[Use]:
    """The uses that are not in the learned graph yet, down to the method and the path."""
    return [use for use in uses if not _is_seen(use, edges.get((str(use.source), str(use.destination), use.port)))]


def _is_seen(use: Use, edge: MapEdge | None) -> bool:
    if edge is None or handling(use.protocol) is not Handling.HTTP:
        return edge is not None
    return any(http_matches(HttpMatch(match.method, match.path), use.method, use.path) for match in edge.http)


def recorded(attempts: Iterable[Attempt], log: Iterable[Violation]) -> list[Attempt]:
    """The attempts that are in the violation log, by who called what and who refused."""
    held = {(v.source, v.destination, v.port, v.direction) for v in log if v.verdict == "denied"}
    return [a for a in attempts if (a.source, str(a.use.destination), a.use.port, a.direction) in held]
