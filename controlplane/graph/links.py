"""The links of the map: all edges from one name to another as one, with what became of their use in a time. Pure; draws nothing."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.flows.model import HourlyFlow, Verdict, Violation
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.learn import GraphEdge
from controlplane.policy.rules import Mode

Pair = tuple[str, str]
#: Source, destination and port.
Door = tuple[str, str, int]


class State(enum.StrEnum):
    """What is to be known of a link first: of several edges, what comes first here."""

    DENIED = "denied"  # a use was dropped, or would be now
    WOULD_DENY = "would-deny"  # a use was reported, or would be now
    LEARNED = "learned"  # used, and nobody has approved it
    APPROVED = "approved"  # used, and approved
    STALE = "stale"  # approved, and not used


_ORDER = {state: place for place, state in enumerate(State)}
_WITHOUT_RULE = {Mode.LEARN: State.LEARNED, Mode.AUDIT: State.WOULD_DENY, Mode.ENFORCE: State.DENIED, Mode.QUARANTINE: State.DENIED}


@dataclass(frozen=True, slots=True)
class Link:
    """``ports`` are as ``80 http``; ``count`` sums what passed (``an_hour`` on average), ``refused`` what was or would be."""

    source: str
    destination: str
    state: State
    ports: tuple[str, ...]
    edges: int
    count: int
    refused: int
    an_hour: float = 0.0

    @property
    def pair(self) -> Pair:
        """Its ends."""
        return self.source, self.destination


def uses(flows: Iterable[HourlyFlow]) -> dict[Door, int]:
    """How often each door was gone through."""
    found: dict[Door, int] = {}
    for flow in flows:
        if flow.verdict is Verdict.ALLOWED:
            door = flow.edge.source, flow.edge.destination, flow.edge.port
            found[door] = found.get(door, 0) + flow.count
    return found


def links_of(
    charted: Iterable[ChartedEdge], refused: Iterable[Violation], used: Mapping[Door, int] | None = None, hours: float = 1.0
) -> list[Link]:
    """The links of a map, by their ends.

    Args:
        charted: every edge that was seen or is approved.
        refused: violations of the time that is looked at.
        used: what was used in that time; the edges' own counts where it is all the time.
        hours: how long that time is.
    """
    found: dict[Pair, list[Link]] = {}
    for one in charted:
        edge = one.edge
        count = edge.count if used is None else used.get((edge.source, edge.destination, edge.port), 0)
        if not count and not one.approved:
            continue
        state = _state(one, in_use=count > 0)
        port = f"{edge.port} {edge.protocol}".strip()
        found.setdefault((edge.source, edge.destination), []).append(
            Link(edge.source, edge.destination, state, (port,), 1, count, 0, count / (hours if used is not None else _hours(edge)))
        )
    for violation in refused:
        key = violation.edge
        state = State.DENIED if violation.verdict is Verdict.DENIED else State.WOULD_DENY
        port = f"{key.port} {key.protocol}".strip()
        found.setdefault((key.source, key.destination), []).append(
            Link(key.source, key.destination, state, (port,), 0, 0, violation.count)
        )
    return [joined(pair, several) for pair, several in sorted(found.items())]


def joined(pair: Pair, links: Iterable[Link]) -> Link:
    """Several links as one between these ends."""
    several = list(links)
    return Link(
        *pair,
        min((link.state for link in several), key=_ORDER.__getitem__),
        tuple(sorted({port for link in several for port in link.ports})),
        sum(link.edges for link in several),
        sum(link.count for link in several),
        sum(link.refused for link in several),
        sum(link.an_hour for link in several),
    )


def _hours(edge: GraphEdge) -> float:
    """From an edge's first use to its last, an hour at least."""
    return max(1.0, (edge.last_seen_ms - edge.first_seen_ms) / HOUR_MS)


def _state(one: ChartedEdge, *, in_use: bool) -> State:
    if one.approved:
        return State.APPROVED if in_use else State.STALE
    return _WITHOUT_RULE[one.mode]
