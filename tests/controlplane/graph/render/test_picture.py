"""What a drawing shows of a map."""

from __future__ import annotations

from hypothesis import given

from controlplane.graph.images import ImageUse
from controlplane.graph.render.picture import Line, Node, Picture, State, collapse, fit, picture_of
from controlplane.topology.model import Kind, Service, ServiceName, Topology
from tests.controlplane.graph.render.pictures import PICTURES, charted

TOPOLOGY = Topology.of([Service(ServiceName("shop", "db"), Kind.DATASTORE), Service(ServiceName("shop", "in"), Kind.GATEWAY)])


def test_edges_between_two_names_are_one_line_with_all_ports_and_counts() -> None:
    found = picture_of([charted("shop/in", "shop/db", 81), charted("shop/in", "shop/db", 80, 7)], TOPOLOGY)
    assert found.lines == (Line("shop/in", "shop/db", State.APPROVED, ("80 http", "81 http"), 2, 12),)
    assert found.nodes == (Node("shop/db", "shop", "datastore"), Node("shop/in", "shop", "gateway"))


def test_a_line_says_what_is_known_of_its_edges() -> None:
    edges = [
        charted("a/a", "a/b", approved=True),
        charted("a/b", "a/c", approved=False),
        charted("a/c", "a/d", approved=True, learned=False),
        charted("a/d", "a/e", 80, approved=True),
        charted("a/d", "a/e", 81, approved=False),
    ]
    states = [line.state for line in picture_of(edges, TOPOLOGY).lines]
    assert states == [State.APPROVED, State.UNAPPROVED, State.UNUSED, State.PARTLY]


def test_addresses_hosts_and_odd_names_have_a_kind() -> None:
    found = picture_of([charted("ip:10.0.0.1", "external/api.example.com"), charted("?!", "shop/new")], TOPOLOGY)
    assert {node.name: (node.namespace, node.kind) for node in found.nodes} == {
        "ip:10.0.0.1": ("ip", "address"),
        "external/api.example.com": ("external", "external"),
        "?!": ("", "unknown"),
        "shop/new": ("shop", "service"),
    }


def test_a_long_list_of_ports_is_cut() -> None:
    found = picture_of([charted("a/a", "a/b", port) for port in range(1, 9)], TOPOLOGY)
    assert found.lines[0].label == "1 http, 2 http, 3 http, ..."


def test_a_collapsed_namespace_is_one_node_with_the_lines_that_leave_it() -> None:
    within, out = charted("a/a", "a/b"), charted("a/b", "b/x", 80, 1)
    edges = [within, out, charted("a/a", "b/x", 81, 2, approved=False), charted("b/x", "c/y")]
    used = {("a/a", "b/x"): [ImageUse("sha256:1", 5, 1)], ("a/b", "b/x"): [ImageUse("sha256:1", 3, 2), ImageUse("sha256:2", 9, 2)]}
    found = collapse(picture_of(edges, TOPOLOGY, used), ["a"])
    assert [(node.name, node.label) for node in found.nodes] == [("a/", "a (2)"), ("b/x", "x"), ("c/y", "y")]
    assert found.nodes[0].kind == "namespace"
    assert found.lines[0] == Line(
        "a/", "b/x", State.PARTLY, ("80 http", "81 http"), 2, 3, (ImageUse("sha256:1", 3, 2), ImageUse("sha256:2", 9, 2))
    )
    assert [line.source for line in found.lines] == ["a/", "b/x"]


@given(PICTURES)
def test_a_picture_fits_when_its_largest_namespaces_are_collapsed(picture: Picture) -> None:
    namespaces = {node.namespace for node in picture.nodes}
    for limit in (1, 4, 6, 100):
        fitted = fit(picture, limit)
        assert len(fitted.nodes) <= max(limit, len(namespaces))
        assert sum(node.members for node in fitted.nodes) == len(picture.nodes)
        if len(picture.nodes) <= limit:
            assert fitted == picture
        names = {node.name for node in fitted.nodes}
        assert {end for line in fitted.lines for end in (line.source, line.destination)} <= names
