"""Counting different texts in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.distinct import KEPT, MAX_EXAMPLES, MAX_TEXT, Distinct

TEXTS = st.lists(st.text(max_size=6), max_size=60)


@given(TEXTS)
def test_few_are_counted_exactly_and_kept(texts: list[str]) -> None:
    few = texts[: KEPT - 1]
    seen = Distinct(few)
    assert (seen.count, seen.is_exact) == (len(set(few)), True)
    assert len(seen.examples) == min(MAX_EXAMPLES, len(set(few)))
    assert set(seen.examples) <= set(few)


@given(TEXTS, st.randoms(use_true_random=False), st.integers(0, 60))
def test_order_repetition_and_merging_change_nothing(texts: list[str], random: object, cut: int) -> None:
    other = texts + texts
    random.shuffle(other)  # type: ignore[attr-defined]  # hypothesis' random.Random
    left, right = Distinct(other[:cut]), Distinct(other[cut:])
    left.merge(right)
    assert left == Distinct(texts)


@pytest.mark.parametrize("many", [100, 1000, 20_000])
def test_many_are_estimated(many: int) -> None:
    seen = Distinct(f"value-{number}" for number in range(many))
    assert not seen.is_exact
    assert 0.5 * many < seen.count < 2 * many
    assert len(seen.examples) == MAX_EXAMPLES


def test_a_long_text_is_cut_but_told_from_others_with_the_same_beginning() -> None:
    seen = Distinct(["x" * 500 + "a", "x" * 500 + "b"])
    assert seen.count == 2
    assert {len(text) for text in seen.examples} == {MAX_TEXT}
