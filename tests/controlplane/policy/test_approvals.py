"""What an edge lacks: one of its owners, a second person; claims of one token are one person, and nobody agrees to own wishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.actors import CONSOLE_OWNER, claimed
from controlplane.policy.approvals import Needed, listed

NOBODY: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("needed", "approvers", "lacks"),
    [
        (Needed(NOBODY, four_eyes=False), ["ana"], ""),
        (Needed(("dora",), four_eyes=False), ["dora"], ""),
        (Needed(("dora",), four_eyes=False), ["ana"], "dora, who owns it"),
        (Needed(("dora", "emil"), four_eyes=False), ["ana"], "dora or emil, who own it"),
        (Needed(("dora",), four_eyes=False), [claimed("dora")], "dora, who owns it"),
        (Needed(NOBODY, four_eyes=True), [], "two persons"),
        (Needed(NOBODY, four_eyes=True), ["ana"], "a second person"),
        (Needed(NOBODY, four_eyes=True), ["ana", "ben"], ""),
        (Needed(NOBODY, four_eyes=True), [claimed("ana"), claimed("ben")], "a second person"),
        (Needed(NOBODY, four_eyes=True), [claimed("ana"), CONSOLE_OWNER], "a second person"),
        (Needed(NOBODY, four_eyes=True, asker="ana"), ["ana", "ben"], "a second person"),
        (Needed(("dora",), four_eyes=True), ["dora"], "a second person"),
        (Needed(("dora",), four_eyes=True), ["ana"], "dora, who owns it"),
        (Needed(("dora",), four_eyes=True), [], "dora, who owns it and a second person"),
        (Needed(("dora",), four_eyes=True, asker="dora"), ["dora", "ana"], "an owner other than dora, who asked for it"),
        (Needed(("dora", "emil"), four_eyes=True, asker="dora"), ["dora", "ana"], "emil, who owns it"),
        (Needed(NOBODY, four_eyes=True, keepers=frozenset({"root"})), ["root", claimed("ana")], "a second person"),
        (Needed(NOBODY, four_eyes=True, keepers=frozenset({"root"})), ["root", "ana"], ""),
        (Needed(("root",), four_eyes=True, keepers=frozenset({"root"})), ["root", "ana"], ""),
        (Needed(NOBODY, four_eyes=True, asker=claimed("x"), keepers=frozenset({"root"})), ["root", "ana"], "a second person"),
    ],
)
def test_what_is_missing_is_said(needed: Needed, approvers: list[str], lacks: str) -> None:
    assert needed.lacks(approvers) == lacks


_NAMES = st.sampled_from(["ana", "ben", "dora", claimed("ana"), claimed("eve")])


@given(owners=st.frozensets(_NAMES, max_size=2), four_eyes=st.booleans(), given_by=st.lists(_NAMES), more=_NAMES)
def test_one_more_approval_never_hurts(owners: frozenset[str], four_eyes: bool, given_by: list[str], more: str) -> None:
    needed = Needed(tuple(sorted(owners)), four_eyes)
    if not needed.lacks(given_by):
        assert not needed.lacks([*given_by, more])


def test_names_are_listed_as_one_says_them() -> None:
    assert listed(["b", "a", "c"]) == "a, b or c"
    assert listed(["a"]) == "a"
    assert listed([f"u{number}" for number in range(8)]) == "u0, u1, u2, u3, u4 or 3 others"
