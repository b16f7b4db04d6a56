"""The rows of a review: their order, what is preselected, and when two reviews ask the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.graph.learn import GraphEdge
from controlplane.graph.oddities import Mark, Oddity
from controlplane.graph.rows import Asked, ReviewRow, review_order, same_rows
from controlplane.policy.rules import HttpMatch

EDGE = GraphEdge("shop/front", "shop/cart", 80, "http", (HttpMatch("GET"),), 1, 0, 0)


def row(name: str, *oddities: Oddity, removal: str = "") -> ReviewRow:
    return ReviewRow(
        replace(EDGE, source=f"shop/{name}", destination=f"shop/{name}"), tuple(Mark(o, "x") for o in oddities), removal
    )


def test_marked_rows_are_first_the_worst_on_top_then_removals() -> None:
    rows = [row("b"), row("a"), row("z", Oddity.UNLIKELY), row("r", removal="unused"), row("y", Oddity.SENSITIVE, Oddity.SCAN)]
    ordered = review_order(rows)
    assert [found.edge.source for found in ordered] == ["shop/y", "shop/z", "shop/r", "shop/a", "shop/b"]
    assert [found.preselected for found in ordered] == [False, False, False, True, True]


def test_counts_and_times_make_no_other_review() -> None:
    assert same_rows([ReviewRow(EDGE)], [ReviewRow(replace(EDGE, count=9, first_seen_ms=1, last_seen_ms=2))])


@pytest.mark.parametrize(
    "other",
    [
        [],
        [ReviewRow(replace(EDGE, http=(HttpMatch("GET"), HttpMatch("POST"))))],
        [ReviewRow(EDGE, (Mark(Oddity.SCAN, "x"),))],
        [ReviewRow(EDGE, removal="unused")],
        [ReviewRow(EDGE, asked=Asked("dev", "needed", "", 1))],
    ],
)
def test_another_question_makes_another_review(other: list[ReviewRow]) -> None:
    assert not same_rows([ReviewRow(EDGE)], other)
