"""Flow values: what makes an edge one edge."""

from __future__ import annotations

from controlplane.flows.model import EdgeKey, Verdict


def test_edges_that_differ_in_any_part_are_different_edges() -> None:
    edge = EdgeKey("shop/front", "shop/cart", 80, "http", "GET", "/")
    others = {
        edge._replace(source="shop/x"),
        edge._replace(destination="shop/x"),
        edge._replace(port=81),
        edge._replace(protocol="grpc"),
        edge._replace(method="POST"),
        edge._replace(path="/x"),
    }
    assert len(others | {edge}) == 7


def test_verdicts_are_written_as_the_design_words_them() -> None:
    assert [str(verdict) for verdict in Verdict] == ["allowed", "would-deny", "denied"]
