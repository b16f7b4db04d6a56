"""Groups violations into incidents: scan, lateral movement, stale client, misconfiguration after a change, or other. Pure.

The same violations give the same incidents in whatever order they come. Nothing here says that somebody attacks: an incident says
what was seen, and `Found.why` in which respect.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.flows.model import EdgeKey, Verdict, Violation
from controlplane.violations.query import Field, Query, Term

#: A silence of this length ends an incident: what comes later is another.
QUIET_MS = 30 * 60_000
#: Distinct places (service and port) that one source tries, and distinct paths at one of them, that make a scan.
SCAN_PLACES = 8
SCAN_PATHS = 30
#: What begins so soon after a change, where it was in use before, is laid to the change.
AFTER_CHANGE_MS = 15 * 60_000
#: What a workload begins so soon after one that reaches it did, may be one movement.
MOVE_MS = 60 * 60_000
#: Names that an incident lists; the counts are of all.
MAX_NAMES = 20
#: Names that the query of an incident asks for.
_SOURCES_ASKED = 10
_PLACES_ASKED = 5
#: Names in its one line that says why.
_NAMES_TOLD = 3


class Kind(enum.StrEnum):
    """What a group of violations looks like."""

    SCAN = "scan"
    LATERAL_MOVEMENT = "lateral-movement"
    MISCONFIGURATION = "misconfiguration"
    STALE_CLIENT = "stale-client"
    OTHER = "other"


#: A source, a destination and a port, as flows have them.
Use = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed about services at a time (Unix milliseconds)."""

    at_ms: int
    service: str
    what: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the violations.

    ``used`` is when each edge was first allowed (Unix milliseconds), ``callees`` whom a workload may call.
    """

    used: Mapping[Use, int] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    callees: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """One group. ``anchor`` is what goes on being the same while it grows: a source, or a destination that was changed.

    ``sources`` and ``places`` ("namespace/name:port") are the first `MAX_NAMES` of them; times are Unix milliseconds.
    """

    kind: Kind
    anchor: str
    sources: tuple[str, ...]
    places: tuple[str, ...]
    source_count: int
    place_count: int
    count: int
    denied: int
    first_seen_ms: int
    last_seen_ms: int
    why: str

    @property
    def query(self) -> Query:
        """What shows its violations in the log, by as many of its names as a line has room for."""
        terms = []
        has_few_places = self.place_count <= _PLACES_ASKED
        if self.source_count <= _SOURCES_ASKED or not has_few_places:
            terms.append(Term(Field.SOURCE, self.sources[:_SOURCES_ASKED]))
        if has_few_places:
            terms.append(Term(Field.DESTINATION, tuple(dict.fromkeys(place.rpartition(":")[0] for place in self.places))))
        return Query(tuple(terms), self.first_seen_ms, self.last_seen_ms + 1)


def group(violations: Iterable[Violation], known: Surroundings) -> tuple[Found, ...]:
    """The incidents in some violations, by their first use and anchor."""
    ordered = sorted(violations, key=lambda one: (one.first_seen_ms, one.id))
    by_use: dict[Use, list[Violation]] = defaultdict(list)
    for violation in ordered:
        by_use[_use(violation.edge)].append(violation)
    changed: dict[tuple[str, int, str], list[Violation]] = defaultdict(list)
    stale: dict[str, list[Violation]] = defaultdict(list)
    never: dict[str, list[Violation]] = defaultdict(list)
    for use, of_use in by_use.items():
        for session in _sessions(of_use):
            if known.used.get(use, session[0].first_seen_ms) >= session[0].first_seen_ms:
                never[use[0]] += session
            elif (change := _change_before(session[0].first_seen_ms, use, known.changes)) is not None:
                changed[change.service, change.at_ms, change.what] += session
            else:
                stale[use[0]] += session
    found = [_misconfiguration(key, members) for key, members in changed.items()]
    found += [_stale_client(session) for members in stale.values() for session in _sessions(members)]
    found += _movements([session for members in never.values() for session in _sessions(members)], known.callees)
    return tuple(sorted(found, key=lambda one: (one.first_seen_ms, one.anchor, one.kind, one.last_seen_ms)))


def _use(edge: EdgeKey) -> Use:
    return edge.source, edge.destination, edge.port


def _sessions(violations: Iterable[Violation]) -> Iterator[list[Violation]]:
    """Parts with no long silence inside, each in the order of time."""
    session: list[Violation] = []
    last_ms = 0
    for violation in sorted(violations, key=lambda one: (one.first_seen_ms, one.id)):
        if session and violation.first_seen_ms - last_ms > QUIET_MS:
            yield session
            session = []
        last_ms = max(last_ms, violation.last_seen_ms) if session else violation.last_seen_ms
        session.append(violation)
    if session:
        yield session


def _change_before(at_ms: int, use: Use, changes: Iterable[Change]) -> Change | None:
    """The last change of either end shortly before that."""
    near = (c for c in changes if c.service in use[:2] and 0 <= at_ms - c.at_ms <= AFTER_CHANGE_MS)
    return max(near, key=lambda change: (change.at_ms, change.service, change.what), default=None)


def _misconfiguration(change: tuple[str, int, str], members: Sequence[Violation]) -> Found:
    service, at_ms, what = change
    delay_s = (min(one.first_seen_ms for one in members) - at_ms) // 1000
    why = f"edges that were in use are refused since {delay_s} s after {what}"
    return _found(Kind.MISCONFIGURATION, f"after:{service}@{at_ms}", members, why)


def _stale_client(members: Sequence[Violation]) -> Found:
    source = members[0].edge.source
    return _found(Kind.STALE_CLIENT, f"stale:{source}", members, f"{source} goes on with calls that were allowed once")


def _movements(sessions: Sequence[list[Violation]], callees: Mapping[str, Collection[str]]) -> Iterator[Found]:
    """Of calls that were never allowed: those of one source, or of several that reach one another in their order."""
    for chain in _chains(sorted(sessions, key=_begin), callees):
        first = chain[0]
        source = first[0].edge.source
        members = [violation for session in chain for violation in session]
        if len(chain) > 1:
            names = list(dict.fromkeys(session[0].edge.source for session in chain))
            more = f", and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
            shown = ", then ".join(names[:_NAMES_TOLD]) + more
            why = f"workloads that reach one another begin what was never allowed, one after the other: {shown}"
            yield _found(Kind.LATERAL_MOVEMENT, source, members, why)
        elif scan := _scan(first):
            yield _found(Kind.SCAN, source, members, scan)
        else:
            yield _found(Kind.OTHER, source, members, f"{source} tries what was never allowed")


def _begin(session: Sequence[Violation]) -> tuple[int, str]:
    return session[0].first_seen_ms, session[0].edge.source


def _chains(sessions: Sequence[list[Violation]], callees: Mapping[str, Collection[str]]) -> Iterator[list[list[Violation]]]:
    """Sessions, ordered by their beginning, in groups of which each but the first follows on another of its group."""
    of_source: dict[str, list[int]] = defaultdict(list)
    for number, session in enumerate(sessions):
        of_source[session[0].edge.source].append(number)
    group_of = list(range(len(sessions)))

    def root(number: int) -> int:
        while group_of[number] != number:
            group_of[number] = group_of[group_of[number]]
            number = group_of[number]
        return number

    for number, session in enumerate(sessions):
        begin_ms, source = _begin(session)
        tried = {violation.edge.destination for violation in session}
        for other in sorted((tried | set(callees.get(source, ()))) & of_source.keys() - {source}):
            for follower in of_source[other]:
                if begin_ms < sessions[follower][0].first_seen_ms <= begin_ms + MOVE_MS:
                    low, high = sorted((root(number), root(follower)))
                    group_of[high] = low
    chains: dict[int, list[list[Violation]]] = defaultdict(list)
    for number, session in enumerate(sessions):
        chains[root(number)].append(session)
    yield from chains.values()


def _scan(session: Sequence[Violation]) -> str:
    """In which respect one source's calls are a scan; empty when they are none."""
    source = session[0].edge.source
    places = {(one.edge.destination, one.edge.port) for one in session}
    if len(places) >= SCAN_PLACES:
        return f"{source} tries {len(places)} places that it was never allowed"
    paths: dict[tuple[str, int], set[str]] = defaultdict(set)
    for one in session:
        paths[one.edge.destination, one.edge.port].add(one.edge.path)
    (destination, port), most = max(paths.items(), key=lambda item: (len(item[1]), item[0]))
    return f"{source} tries {len(most)} paths of {destination}:{port}" if len(most) >= SCAN_PATHS else ""


def _found(kind: Kind, anchor: str, members: Sequence[Violation], why: str) -> Found:
    sources = _in_order(members, lambda one: one.edge.source)
    places = _in_order(members, lambda one: f"{one.edge.destination}:{one.edge.port}")
    return Found(
        kind, anchor, tuple(sources[:MAX_NAMES]), tuple(places[:MAX_NAMES]), len(sources), len(places),
        sum(one.count for one in members), sum(one.count for one in members if one.verdict is Verdict.DENIED),
        min(one.first_seen_ms for one in members), max(one.last_seen_ms for one in members), why,
    )  # fmt: skip


def _in_order(members: Iterable[Violation], name: Callable[[Violation], str]) -> list[str]:
    """Each name once, in the order of time."""
    ordered = sorted(members, key=lambda one: (one.first_seen_ms, one.id))
    return list(dict.fromkeys(name(one) for one in ordered))
