"""One reader's view of the map."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from controlplane.graph.atlas import MAX_NODES, Atlas, View, look
from controlplane.graph.expression import Expression, read_expression
from controlplane.graph.links import Link, State
from controlplane.graph.render.picture import READABLE_NODES, Node
from controlplane.policy.rules import Mode

NAMES = ("ops/log", "shop/cart", "shop/db", "shop/web", "solo/one")
PAIRS = (("shop/web", "shop/cart"), ("shop/cart", "shop/db"), ("shop/db", "ops/log"), ("solo/one", "shop/web"))


def nodes(names: Iterable[str] = NAMES) -> list[Node]:
    return [Node(name, name.partition("/")[0], "service") for name in names]


def links(pairs: Iterable[tuple[str, str]] = PAIRS) -> list[Link]:
    return [Link(*pair, State.DENIED if pair[1] == "ops/log" else State.APPROVED, ("80 http",), 1, 1, 0) for pair in pairs]


def words(text: str) -> Expression:
    found = read_expression(text)
    assert isinstance(found, Expression)
    return found


def seen(view: View) -> Atlas:
    return look(nodes(), links(), {"shop/cart": Mode.ENFORCE}, view)


def names(atlas: Atlas) -> list[str]:
    return [node.name for node in atlas.nodes]


def test_everything_is_there_unless_something_is_asked_for() -> None:
    assert names(seen(View())) == list(NAMES)
    assert len(seen(View()).links) == 4


def test_what_is_found_is_marked_and_stays_where_it_is() -> None:
    atlas = seen(View(find=words("mode:enforce state:denied")))
    assert names(atlas) == list(NAMES)
    assert atlas.found_nodes == {"shop/cart"}
    assert atlas.found_links == {("shop/db", "ops/log")}


def test_what_is_hidden_goes_with_its_links() -> None:
    atlas = seen(View(hide=words("cart state:denied")))
    assert names(atlas) == ["ops/log", "shop/db", "shop/web", "solo/one"]
    assert [link.pair for link in atlas.links] == [("solo/one", "shop/web")]


def test_the_surroundings_of_a_name_go_as_far_as_asked() -> None:
    assert names(seen(View(focus="shop/cart", hops=1))) == ["shop/cart", "shop/db", "shop/web"]
    assert names(seen(View(focus="shop/cart", hops=2))) == list(NAMES)
    assert names(seen(View(focus="solo/one", hops=1, hide=words("web")))) == ["solo/one"]


def test_a_closed_namespace_is_one_name_with_the_links_of_all() -> None:
    atlas = seen(View(opened=frozenset({"ops"}), find=words("cart")))
    assert names(atlas) == ["ops/log", "shop/", "solo/one"]
    assert atlas.nodes[1].label == "shop (3)"
    assert {link.pair: link.state for link in atlas.links} == {
        ("shop/", "ops/log"): State.DENIED,
        ("solo/one", "shop/"): State.APPROVED,
    }
    assert atlas.found_nodes == {"shop/"}
    assert [(namespace.name, namespace.size, namespace.is_open) for namespace in atlas.namespaces] == [("shop", 3, False)]


def test_a_large_map_opens_with_its_largest_namespaces_closed() -> None:
    many = [f"n{number % 10}/s{number}" for number in range(3_000)]
    atlas = look(nodes(many), links(pairwise(many)), {}, View())
    assert len(atlas.nodes) <= READABLE_NODES
    assert not any(namespace.is_open for namespace in atlas.namespaces)
    few = many[:MAX_NODES]
    assert len(look(nodes(few), links(pairwise(few)), {}, View()).nodes) == MAX_NODES
