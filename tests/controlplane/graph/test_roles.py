"""Variants of one role are one row, and the row hides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.learn import GraphEdge
from controlplane.graph.roles import grouped, roles_of
from controlplane.policy.rules import HttpMatch


def edge(source: str, destination: str, *http: HttpMatch, port: int = 80) -> GraphEdge:
    return GraphEdge(source, destination, port, "http", http, 1, 0, 0)


def calls(*pairs: str) -> list[GraphEdge]:
    return [edge(f"shop/{source}", f"shop/{destination}") for pair in pairs for source, _, destination in [pair.partition(">")]]


@pytest.mark.parametrize(
    ("one", "other", "role"),
    [
        ("cart-v1", "cart-v2", "cart"),
        ("cart", "cart-canary", "cart"),
        ("cart-v1-2", "cart-v1-3", "cart"),
        ("redis-0", "redis-1", "redis"),
        ("cart-6d5f8b7c9-x2k4z", "cart-6d5f8b7c9-b7c9d", "cart"),
        ("cart-blue", "cart-v2-green", "cart"),
    ],
)
def test_names_of_variants_with_the_same_neighbours_are_one_role(one: str, other: str, role: str) -> None:
    roles = roles_of(calls(f"front>{one}", f"front>{other}"))
    assert roles.variants == {f"shop/{role}": tuple(sorted([f"shop/{one}", f"shop/{other}"]))}
    assert roles.of(f"shop/{one}") == f"shop/{role}"
    assert roles.of("shop/front") == "shop/front"


@pytest.mark.parametrize(
    "pairs",
    [
        ["front>cart-v1", "other>cart-v2"],
        ["front>cart", "front>card"],
        ["front>cart-v1"],
        ["front>cart-v1", "front>cart-v2", "cart-v2>a", "cart-v2>b", "cart-v2>c"],
        ["front>v1", "front>v2"],
        ["front>oauth", "front>oauth2"],
        ["front>dev1", "front>dev2"],
    ],
)
def test_names_alone_or_neighbours_alone_do_not_make_a_role(pairs: list[str]) -> None:
    roles = roles_of(calls(*pairs))
    assert "shop/cart-v2" not in roles.variants.get("shop/cart", ())
    assert roles.variants == {}


def test_a_canary_that_has_seen_less_is_a_variant_and_a_stranger_among_variants_is_not() -> None:
    pairs = [f"{variant}>{other}" for variant in ("cart-v1", "cart-v2") for other in ("db", "pay", "log")]
    roles = roles_of(calls(*pairs, "cart-canary>db", "cart-v3>x", "cart-v3>y"))
    assert roles.variants == {"shop/cart": ("shop/cart-canary", "shop/cart-v1", "shop/cart-v2")}


def test_variants_that_call_variants_are_told_as_roles_on_both_sides() -> None:
    edges = calls("cart-v1>db-v1", "cart-v2>db-v2")
    rows = grouped(edges, roles_of(edges))
    assert [(row.source, row.destination, len(row.edges), row.is_uniform) for row in rows] == [("shop/cart", "shop/db", 2, False)]


def test_namespaces_addresses_and_hosts_outside_are_kept_apart() -> None:
    pairs = [("ip:10.0.0.1", "a/cart-v1"), ("ip:10.0.0.2", "b/cart-v2"), ("a/x", "external/api-1"), ("a/x", "external/api-2")]
    assert roles_of([edge(*pair) for pair in pairs]).variants == {}


def test_a_row_says_which_variants_and_what_they_ask_for() -> None:
    get, post = HttpMatch("GET", "/cart/{id}"), HttpMatch("POST", "/cart")
    same = [edge("shop/front-v1", "shop/cart", get, post), edge("shop/front-v2", "shop/cart", get, post)]
    (row,) = grouped(same, roles_of(same))
    assert row.text == "shop/front (-v1, -v2) -> shop/cart:80 http  GET /cart/{id}, POST /cart"


def test_a_row_whose_edges_differ_lists_them() -> None:
    """Approving a row may not approve what a reader did not see."""
    get = HttpMatch("GET")
    edges = [edge("shop/front-v1", "shop/cart", get), edge("shop/front-v2", "shop/cart")]
    (row,) = grouped(edges, roles_of(edges))
    assert row.http == ()
    assert row.text.splitlines() == [
        "shop/front (-v1, -v2) -> shop/cart:80 http  anything",
        "    shop/front-v1 -> shop/cart  GET any path",
        "    shop/front-v2 -> shop/cart  anything",
    ]


NAMES = st.sampled_from([f"{name}{track}" for name in ("a/cart", "a/db", "b/cart", "b/db") for track in ("", "-v1", "-v2")])
METHODS = st.sampled_from([HttpMatch("GET"), HttpMatch("POST")])
EDGES = st.lists(st.builds(edge, NAMES, NAMES, METHODS, port=st.sampled_from([80, 81])), max_size=20)


@given(EDGES)
def test_every_edge_is_in_exactly_one_row_of_its_roles(edges: list[GraphEdge]) -> None:
    roles = roles_of(edges)
    rows = grouped(edges, roles)
    assert sorted(map(repr, edges)) == sorted(repr(member) for row in rows for member in row.edges)
    for row in rows:
        assert {(roles.of(member.source), roles.of(member.destination), member.port) for member in row.edges} == {
            (row.source, row.destination, row.port)
        }
    assert grouped(reversed(edges), roles_of(reversed(edges))) == rows
