"""A rule that is said to cover another lets everything pass that the other does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.coverage import match_covers, rule_covers, source_covers
from controlplane.policy.evaluate import Request, http_matches, rule_matches
from controlplane.policy.rules import AddressSource, HttpMatch, Rule
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import METHODS, RULE_LISTS, RULES, WORKLOADS

_SEGMENTS = st.sampled_from(["", "a", "b", "ab", "{x}", "{y}", "*", "a*", "v{x}", "a.b", "%2F", ".."])
_ENDS = st.sampled_from(["", "*", "/", "/*"])
_PATTERNS = st.builds(lambda parts, end: "/" + "/".join(parts) + end, st.lists(_SEGMENTS, max_size=3), _ENDS)
_PATHS = st.lists(st.sampled_from(["", "a", "b", "ab", "abc", "vb", "a.b", "%2F", "..", "%2e%2e", "a;b"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[HttpMatch, HttpMatch]:
    """A match, and one that is often a generalisation of it."""
    inner = draw(_PATTERNS)
    parts = [draw(st.sampled_from([part, part, "{z}", "*"])) for part in inner.split("/")[1:]]
    cut = draw(st.integers(0, len(parts)))
    outer = draw(st.sampled_from(["/" + "/".join(parts), "/" + "/".join([*parts[:cut], ""]) + "*", draw(_PATTERNS)]))
    return HttpMatch(draw(METHODS), outer.replace("//*", "/*")), HttpMatch(draw(METHODS), inner)


@settings(max_examples=1500)
@given(_pairs(), st.lists(st.tuples(st.sampled_from(["GET", "POST"]), _PATHS), min_size=8, max_size=8))
def test_what_covers_a_match_holds_every_request_of_it(pair: tuple[HttpMatch, HttpMatch], requests: list[tuple[str, str]]) -> None:
    outer, inner = pair
    for method, path in [*requests, ("", "")]:
        if http_matches(inner, method, path) and not http_matches(outer, method, path):
            assert not match_covers(outer, inner)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("", "/a"), ("", "/*"), ("/*", "/a/b"), ("/*", "/a/{id}"), ("/a/*", "/a/b*"), ("/a/{x}", "/a/{y}"), ("/a/{x}", "/a/b"),
        ("/a/*/c", "/a/{x}/c"), ("/{x}/*", "/a/b/*"), ("/{x}", "/v{x}"), ("/a*", "/a/*"),
    ],
)  # fmt: skip
def test_what_people_write_is_recognised(outer: str, inner: str) -> None:
    assert match_covers(HttpMatch("", outer), HttpMatch("GET", inner))
    assert not match_covers(HttpMatch("POST", outer), HttpMatch("GET", inner))


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("/a", ""), ("/*", ""), ("/a", "/b"), ("/a", "/a/*"), ("/a/{x}", "/a/*"), ("/a/b*", "/a/*"), ("/{x}/*", "/a"),
        ("/a/{x}", "/a/x/y"),
    ],
)  # fmt: skip
def test_what_is_wider_or_elsewhere_is_not_covered(outer: str, inner: str) -> None:
    assert not match_covers(HttpMatch("", outer), HttpMatch("", inner))


def test_a_network_covers_the_networks_within_it() -> None:
    assert source_covers(AddressSource("10.0.0.0/8"), AddressSource("10.1.0.0/16"))
    assert not source_covers(AddressSource("10.1.0.0/16"), AddressSource("10.0.0.0/8"))
    assert not source_covers(AddressSource("0.0.0.0/0"), AddressSource("::/0"))
    assert not source_covers(AddressSource("0.0.0.0/0"), WORKLOADS[0])


@settings(max_examples=600)
@given(RULE_LISTS, RULES, st.sampled_from([*WORKLOADS, None]), st.sampled_from(["127.0.0.1", "127.1.2.3", "::1", ""]), _PATHS)
def test_what_covers_a_rule_lets_pass_what_it_lets_pass(
    outer: tuple[Rule, ...], inner: Rule, source: WorkloadId | None, address: str, path: str
) -> None:
    request = Request(ServiceName("shop", "cart"), inner.port, source, address, "GET", path)
    if rule_matches(inner, request) and not any(rule_matches(rule, request) for rule in outer):
        assert not rule_covers(outer, inner)
    assert rule_covers((*outer, inner), inner)
