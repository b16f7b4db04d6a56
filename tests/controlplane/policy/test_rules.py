"""Rules as values: what they take, what they refuse, and what a path stands for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AMBIGUOUS_PATH, AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy, rule_order
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")


@pytest.mark.parametrize(
    ("cidr", "kept"),
    [("10.0.0.1", "10.0.0.1/32"), ("10.0.0.0/8", "10.0.0.0/8"), ("2001:DB8::/32", "2001:db8::/32"), ("::1", "::1/128")],
)
def test_a_network_has_one_spelling(cidr: str, kept: str) -> None:
    assert AddressSource(cidr).cidr == kept
    assert AddressSource(cidr) == AddressSource(kept)
    assert str(AddressSource(cidr)) == f"ip:{kept}"


@pytest.mark.parametrize("cidr", ["", "a", "10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.0.0.0/8/8"])
def test_what_is_no_network_that_envoy_can_match_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        AddressSource(cidr)


@pytest.mark.parametrize("method", ["GET ", "G\n", "(", "ä", "x" * 65])
def test_what_is_no_method_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="is not an HTTP method"):
        HttpMatch(method)


@pytest.mark.parametrize("path", ["a", "*", "/a b", "/a?b", "/a#b", "/a\n", "/\x00", "/é", "/" + "x" * 1024])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path starts with"):
        HttpMatch("GET", path)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_method_and_path_is_a_match_or_a_value_error(method: str, path: str) -> None:
    try:
        match = HttpMatch(method, path)
    except ValueError:
        return
    assert (match.method, match.path) == (method, path)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="is not one of 1 to 65535"):
        Rule(WorkloadId("a", "b"), port)


@pytest.mark.parametrize(
    ("path", "holds", "does_not_hold"),
    [
        ("/a*", ["/a", "/ab", "/a/b/c"], ["/", "/b/a", "/A"]),
        ("/a/*", ["/a/", "/a/b", "/a/b/c"], ["/a", "/ab"]),
        ("/{x}", ["/a", "/a.b", "/%20"], ["/", "/a/", "/a/b"]),
        ("/a/{id}/c", ["/a/1/c"], ["/a//c", "/a/1/2/c", "/a/c", "/a/1/c/"]),
        ("/a/{id}/*", ["/a/1/", "/a/1/x/y"], ["/a/1", "/a//x"]),
        ("/v{n}/x", ["/v1/x"], ["/v/x"]),
        ("/a/*/c", ["/a/1/c", "/a//c"], ["/a/1/2/c"]),
        ("/a.b{x}", ["/a.bc"], ["/aXbc"]),
        ("/a+b*", ["/a+b", "/a+bc"], ["/aab"]),
    ],
)
def test_what_a_pattern_stands_for(path: str, holds: list[str], does_not_hold: list[str]) -> None:
    expression = HttpMatch("", path).path_expression()
    assert [p for p in [*holds, *does_not_hold] if re.fullmatch(expression, p)] == holds


@pytest.mark.parametrize(
    ("path", "prefix", "template"),
    [
        ("/a", False, False),
        ("/a*", True, False),
        ("/{x}", False, True),
        ("/{x}*", True, True),
        ("/a*b", False, True),
        ("/{", False, False),
    ],
)
def test_what_kind_of_path_it_is(path: str, *, prefix: bool, template: bool) -> None:
    match = HttpMatch("", path)
    assert (match.is_prefix, match.is_template) == (prefix, template)


@pytest.mark.parametrize(
    "path",
    ["//", "//a", "//host/admin", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/.", "/..", "/a/../b", "/a/./b", "/a/%2e%2E/b", "/a/.%2e",
     "/a/..;/b", "/a/.;x=1", "/a/%2e%2e;x/b", "/a/..%3b/b"],
)  # fmt: skip
def test_a_path_that_an_application_may_read_as_another_is_ambiguous(path: str) -> None:
    assert re.fullmatch(AMBIGUOUS_PATH, path)


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a//b", "/a;x=1/b", "/a.b", "/..a", "/a..", "/...", "/a/.b", "/a%20b", "/a%252fb", "/a/;/b"]
)
def test_an_ordinary_path_is_not(path: str) -> None:
    assert not re.fullmatch(AMBIGUOUS_PATH, path)


def test_rules_of_every_kind_have_an_order() -> None:
    peer = WorkloadId("a", "b")
    rules = [Rule(AddressSource("10.0.0.0/8"), 1), Rule(peer, 2), Rule(peer, 1, (HttpMatch("GET"),))]
    assert sorted(rules, key=rule_order) == [rules[2], rules[1], rules[0]]


def test_a_service_without_rules_or_mode_has_an_empty_list_and_the_default_mode() -> None:
    policy = Policy(1, {}, {}, Mode.AUDIT)
    assert policy.of(CART) == ServicePolicy(CART)
    assert policy.mode(CART) is Mode.AUDIT


def test_quarantine_is_never_the_default() -> None:
    """Whoever is not named would be cut off from everything, and no list could say so."""
    with pytest.raises(ValueError, match="cannot be the default"):
        Policy(1, {}, {}, Mode.QUARANTINE)


def test_a_workload_is_quarantined_by_the_mode_of_its_service() -> None:
    policy = Policy(1, {}, {CART: Mode.QUARANTINE})
    assert policy.is_quarantined(WorkloadId("shop", "cart"))
    assert not policy.is_quarantined(WorkloadId("other", "cart"))
