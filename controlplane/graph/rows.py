"""The rows of a review: an edge to allow or to take away, with what a reviewer has to know first. Pure; decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from controlplane.graph.learn import GraphEdge
from controlplane.graph.oddities import Mark, Oddity


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asked for an edge, whether or not it was seen. ``link`` is where it is discussed, such as a pull request."""

    by: str
    reason: str
    link: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One row. ``removal`` says in words why an approved edge should go; it is empty where one is to be allowed."""

    edge: GraphEdge
    marks: tuple[Mark, ...] = ()
    removal: str = ""
    asked: Asked | None = None

    @property
    def preselected(self) -> bool:
        """Whether a person has to take it out rather than put it in: never for a marked edge, and never for a removal."""
        return not (self.marks or self.removal)


def review_order(rows: Iterable[ReviewRow]) -> tuple[ReviewRow, ...]:
    """Marked rows first, the worst at the top; then removals, then the others by destination and source."""
    return tuple(sorted(rows, key=_place))


def _place(row: ReviewRow) -> tuple[int, int, bool, str, str, int, str]:
    worst = list(Oddity).index(row.marks[0].oddity) if row.marks else len(Oddity)
    edge = row.edge
    return (worst, -len(row.marks), not row.removal, edge.destination, edge.source, edge.port, edge.protocol)


def same_rows(left: Iterable[ReviewRow], right: Iterable[ReviewRow]) -> bool:
    """Whether two reviews ask the same questions, whatever their counts."""
    return {_question(row) for row in left} == {_question(row) for row in right}


def question_of(row: ReviewRow) -> str:
    """What a row asks, as a hash, the same in every proposal. More of an edge, or a new oddity, is another question."""
    oddities = sorted(str(mark.oddity) for mark in row.marks)
    http = sorted((match.method, match.path) for match in row.edge.http)
    asks = msgspec.json.encode([row.edge.ends, http, bool(row.removal), oddities])
    return hashlib.sha256(asks).hexdigest()


def _question(row: ReviewRow) -> tuple[object, ...]:
    oddities = frozenset(mark.oddity for mark in row.marks)
    return *row.edge.ends, row.edge.http, bool(row.removal), row.asked, oddities
