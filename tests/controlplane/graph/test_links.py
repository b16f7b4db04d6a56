"""The links of the map."""

from __future__ import annotations

import pytest

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict, Violation
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.learn import GraphEdge
from controlplane.graph.links import State, links_of, uses
from controlplane.policy.rules import Mode


def charted(destination: str, port: int, *, approved: bool, count: int = 5, mode: Mode = Mode.LEARN) -> ChartedEdge:
    edge = GraphEdge("shop/web", destination, port, "http", (), count, 1, 2)
    return ChartedEdge(edge, approved, count > 0, mode)


CART = (charted("shop/cart", 80, approved=True), charted("shop/cart", 81, approved=False))


def violation(verdict: Verdict, port: int = 80, count: int = 3) -> Violation:
    edge = EdgeKey("shop/web", "shop/cart", port, "http", "GET", "/")
    return Violation(1, edge, verdict, "shop/cart", "in", count, 1, 2, "", "", "", "", "")


@pytest.mark.parametrize(
    ("edge", "state"),
    [
        (charted("shop/cart", 80, approved=True), State.APPROVED),
        (charted("shop/cart", 80, approved=True, count=0), State.STALE),
        (charted("shop/cart", 80, approved=False), State.LEARNED),
        (charted("shop/cart", 80, approved=False, mode=Mode.AUDIT), State.WOULD_DENY),
        (charted("shop/cart", 80, approved=False, mode=Mode.ENFORCE), State.DENIED),
    ],
)
def test_the_state_of_one_edge(edge: ChartedEdge, state: State) -> None:
    assert [link.state for link in links_of([edge], [])] == [state]


def test_several_edges_are_one_link_in_the_state_that_matters_most() -> None:
    edges = [*CART, charted("shop/pay", 443, approved=True)]
    cart, pay = links_of(edges, [violation(Verdict.WOULD_DENY), violation(Verdict.DENIED, 82)])
    assert (cart.state, cart.ports) == (State.DENIED, ("80 http", "81 http", "82 http"))
    assert (cart.edges, cart.count, cart.refused) == (2, 10, 6)
    assert (pay.state, pay.pair) == (State.APPROVED, ("shop/web", "shop/pay"))


def test_in_a_time_only_its_uses_count() -> None:
    edges = [*CART, charted("shop/pay", 443, approved=False)]
    flows = [
        HourlyFlow(EdgeKey("shop/web", "shop/pay", 443, "http", "GET", path), verdict, hour, 4)
        for path, verdict, hour in (("/a", Verdict.ALLOWED, 1), ("/b", Verdict.ALLOWED, 2), ("/c", Verdict.DENIED, 2))
    ]
    cart, pay = links_of(edges, [], uses(flows), 2)
    assert (cart.state, cart.ports, cart.count) == (State.STALE, ("80 http",), 0)
    assert (pay.state, pay.count, pay.an_hour) == (State.LEARNED, 8, 4)


def test_over_all_time_the_rate_is_from_the_first_use_to_the_last() -> None:
    day = GraphEdge("shop/web", "shop/cart", 80, "http", (), 48, 0, 24 * 3_600_000)
    (link,) = links_of([ChartedEdge(day, True, True, Mode.LEARN)], [])
    assert link.an_hour == 2
    (once,) = links_of([charted("shop/cart", 80, approved=True, count=1)], [])
    assert once.an_hour == 1
