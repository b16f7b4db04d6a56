"""Paths as applications and attackers ask for them."""

from __future__ import annotations

from hypothesis import strategies as st

from controlplane.graph.pathtree import Budget

_WORDS = st.sampled_from(["users", "orders", "cart", "v1", "me", "search", "alice", "bob", "carol", "dave", "erin"])
_MANY_WORDS = st.integers(0, 40).map(lambda number: f"w{chr(97 + number % 26)}{chr(97 + number // 26)}")
_IDENTIFIERS = st.sampled_from(["1", "22", "333", "4f0c9e1a-1b2c-4d3e-8f90-abcdefabcdef", "deadbeef01", "item-123", "item-456"])
_ODD = st.sampled_from(["", ".", "..", "%2e%2e", "a%2fb", "{id}", "*", "a*", "a b", "a?b", "caf%C3%A9", "x" * 100, "\\", "é"])

SEGMENTS = _WORDS | _MANY_WORDS | _IDENTIFIERS
PATHS = st.builds("/{}{}".format, st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join), st.sampled_from(["", "/"]))
#: Few places with many words, so that crowds and siblings happen.
CROWDS = st.builds("/{}{}".format, _MANY_WORDS, st.sampled_from(["", "/orders", "/orders/1", "/cart", "/1"]))
HOSTILE = st.just("/") | st.lists(SEGMENTS | _ODD, max_size=40).map(lambda parts: "/" + "/".join(parts)) | st.text(max_size=10)
LISTS = st.lists(PATHS | CROWDS, max_size=60) | st.lists(CROWDS, min_size=20, max_size=60) | st.lists(HOSTILE, max_size=10)
BUDGETS = st.builds(Budget, st.integers(1, 30), st.integers(0, 8)) | st.just(Budget())
