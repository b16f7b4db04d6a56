"""The tree of paths: the same whatever the order, and never larger than its budget."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.pathshape import MAX_DEPTH, shape_of
from controlplane.graph.pathtree import Budget, PathTree, bits_below, limit_of, tree_of
from tests.controlplane.graph.paths import BUDGETS, LISTS


@given(LISTS, BUDGETS, st.randoms(use_true_random=False), st.lists(st.integers(0, 60), min_size=2, max_size=2))
def test_order_repetition_and_merging_in_any_grouping_change_nothing(
    paths: list[str], budget: Budget, chance: random.Random, cuts: list[int]
) -> None:
    whole = tree_of(paths, budget)
    again = paths + paths[:7]
    chance.shuffle(again)
    assert tree_of(again, budget) == whole
    first, second = sorted(cuts)
    a, b, c = again[:first], again[first:second], again[second:]
    left = tree_of(a, budget)
    left.merge(tree_of(b, budget))
    left.merge(tree_of(c, budget))
    late = tree_of(b, budget)
    late.merge(tree_of(c, budget))
    right = tree_of(a, budget)
    right.merge(late)
    assert left == right == whole
    whole.merge(right)
    assert whole == left


@pytest.mark.parametrize("bits", range(9))
def test_order_and_merging_change_nothing_where_budgets_run_out(bits: int) -> None:
    """Many small trees whose places fill up one after the other, which a search for examples seldom comes to."""
    chance = random.Random(bits)
    words = [f"w{letter}" for letter in "abcdefghijkl"]
    for _ in range(60):
        segments = [*words[: chance.randint(2, 12)], "7", "ab12cd34ef", "item-1234"]
        paths = ["/" + "/".join(chance.choices(segments, k=chance.randint(1, 4))) for _ in range(chance.randint(2, 60))]
        other = chance.sample(paths, len(paths))
        cut = chance.randint(0, len(other))
        merged = tree_of(other[:cut], Budget(3, bits))
        merged.merge(tree_of(other[cut:], Budget(3, bits)))
        assert tree_of(paths, Budget(3, bits)) == tree_of(other, Budget(3, bits)) == merged


@given(LISTS, BUDGETS)
def test_every_path_that_was_observed_is_kept_somewhere(paths: list[str], budget: Budget) -> None:
    tree = PathTree(budget)
    for path in paths:
        assert tree.observe(path) == (shape_of(path) is not None)
    for path in paths:
        found = shape_of(path)
        if found is not None:
            assert tree.locate(found[0]) in set(tree.shapes())


@pytest.mark.parametrize("bits", [0, 3, 6, 10])
def test_however_many_paths_come_the_tree_stays_within_its_budget(bits: int) -> None:
    chance = random.Random(bits)
    letters = "abcdefghij"
    words = [f"{a}{b}{c}" for a in letters for b in letters for c in letters]
    tree = PathTree(Budget(20, bits))
    for _ in range(5_000):
        tree.observe("/" + "/".join(chance.choices(words[: chance.choice([2, 10, 50, 1000])], k=chance.randint(1, 6))))
    nodes = [tree.root]
    for node in nodes:
        nodes.extend(node.children.values())
    assert sum(not node.children for node in nodes) <= 2**bits
    assert len(nodes) <= 2**bits * MAX_DEPTH + 1


def test_budgets_shrink_downwards_and_never_grow_when_more_is_seen() -> None:
    """What makes the tree independent of order: a crowd below never has more room than those who made it had."""
    crowded = [bits_below(bits, limit_of(bits) + 1) for bits in range(30)]
    assert crowded == sorted(crowded)
    for bits in range(14):
        below = [bits_below(bits, children) for children in range(1, limit_of(bits) + 2)]
        assert below == sorted(below, reverse=True)
        assert all(2**room * children <= 2**bits for children, room in enumerate(below[:-1], 1))


def test_a_crowd_is_one_child_and_says_so() -> None:
    tree = tree_of([f"/users/{a}{b}/cart" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"], Budget(300, 9))
    assert [shaped.text for shaped in tree.shapes()] == ["/users/{name}/cart"]
    assert tree.is_crowded
    assert not tree_of(["/users/a/cart"]).is_crowded


def test_trees_of_different_budgets_do_not_merge() -> None:
    with pytest.raises(ValueError, match="budgets"):
        PathTree(Budget(3)).merge(PathTree(Budget(4)))


def test_a_merged_tree_shares_nothing_with_the_other() -> None:
    one, other = tree_of(["/a/1"]), tree_of(["/b/2"])
    one.merge(other)
    one.observe("/b/c/d")
    assert other == tree_of(["/b/2"])
