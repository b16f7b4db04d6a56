"""Images of an edge: the same in whatever order they come, and no more than are kept."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.images import MAX_IMAGES, Images, ImageUse

FEW = st.lists(st.builds(ImageUse, st.sampled_from("abcd"), st.integers(0, 9), st.integers(0, 9)), max_size=20)
MANY = st.lists(st.builds(ImageUse, st.sampled_from("abcdefghijklmnop"), st.integers(0, 9), st.integers(0, 40)), max_size=60)


@given(FEW, st.randoms(use_true_random=False), st.integers(0, 20))
def test_order_and_merging_change_nothing(uses: list[ImageUse], chance: random.Random, cut: int) -> None:
    other = chance.sample(uses, len(uses))
    merged = Images(other[:cut])
    merged.merge(Images(other[cut:]))
    assert Images(uses) == Images(other) == merged
    assert merged.holds(Images(other[:cut]))


@given(MANY, st.randoms(use_true_random=False))
def test_of_too_many_those_used_last_are_kept_in_whatever_order_they_come(uses: list[ImageUse], chance: random.Random) -> None:
    last = {digest: max(use.last_day for use in uses if use.digest == digest) for digest in {use.digest for use in uses}}
    kept = sorted(last, key=lambda digest: (last[digest], digest))[-MAX_IMAGES:]
    for order in (uses, chance.sample(uses, len(uses))):
        assert {use.digest: use.last_day for use in Images(order).uses} == {digest: last[digest] for digest in kept}


@given(MANY, MANY)
def test_what_is_held_changes_nothing(uses: list[ImageUse], more: list[ImageUse]) -> None:
    seen, other = Images(uses), Images(more)
    merged = Images(uses)
    merged.merge(other)
    assert not seen.holds(other) or merged == seen
