"""The learned graph with templates: what is proposed holds what was seen, and no more than the templates say."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.evidence import Evidence
from controlplane.graph.learn import MAX_PATHS
from controlplane.graph.ledger import Ledger
from controlplane.graph.pathshape import shape_of
from controlplane.graph.relearn import LearnedGraph, Relearning, relearn
from controlplane.graph.templates import Generalisation, Why
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Request, evaluate
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.graph.paths import CROWDS, HOSTILE, PATHS

RULE = Generalisation(siblings=3, alone=5)
CART = ServiceName("shop", "cart")


def flow(path: str = "", method: str = "GET", source: str = "shop/front", protocol: str = "http", port: int = 80) -> Flow:
    return Flow(EdgeKey(source, "shop/cart", port, protocol, method, path), Verdict.ALLOWED, "shop/cart", "in", 2, 10, 20)


def called(path: str, count: int = 2, at: int = 10) -> Flow:
    return replace(flow(path, "POST", protocol="grpc"), count=count, first_seen_ms=at, last_seen_ms=at)


def learn(flows: list[Flow], rule: Generalisation | None = None) -> LearnedGraph:
    ledger = Ledger()
    for seen in flows:
        ledger.add(seen)
    return relearn(ledger.edges, rule)


REQUESTS = st.builds(
    flow, PATHS | CROWDS | HOSTILE, st.sampled_from(["GET", "POST", "G(T"]), st.sampled_from(["shop/front", "shop/web"])
)
OTHERS = st.builds(flow, st.sampled_from(["/shop.Cart/Get", "/shop.Cart/*"]), st.just("POST"), protocol=st.just("grpc"))
PLAIN = st.builds(flow, st.just(""), st.just(""), protocol=st.sampled_from(["redis", "tls"]))
FLOWS = st.lists(REQUESTS | OTHERS | PLAIN, max_size=40)


@given(FLOWS)
def test_approving_what_is_learned_lets_everything_pass_that_a_rule_can_say(flows: list[Flow]) -> None:
    graph = learn(flows, RULE)
    rules = tuple(Rule(WorkloadId(*e.source.split("/")), e.port, e.http) for e in graph.edges)
    policy = Policy(1, {CART: ServicePolicy(CART, rules, 1)}, {CART: Mode.ENFORCE})
    for seen in flows:
        key = seen.edge
        sayable = key.method != "G(T" and (shape_of(key.path) is not None if key.protocol == "http" else "*" not in key.path)
        request = Request(CART, key.port, WorkloadId(*key.source.split("/")), "", key.method, key.path)
        if sayable:
            assert isinstance(evaluate(policy, request), Allowed)


@given(FLOWS)
def test_a_source_asks_only_for_templates_of_what_it_asked_for_itself(flows: list[Flow]) -> None:
    graph = learn(flows, RULE)
    for edge in graph.edges:
        own = [f.edge for f in flows if f.edge[:4] == (edge.source, edge.destination, edge.port, edge.protocol)]
        assert edge.http or not any(key.method for key in own)
        assert set(edge.http) <= {HttpMatch(key.method, said(graph, key)) for key in own if key.method != "G(T"}


def said(graph: LearnedGraph, key: EdgeKey) -> str:
    """The path that a request's edge may ask for; one that nothing asks for when there is none."""
    mined = graph.mined.get((key.destination, key.port, key.method)) if key.protocol == "http" else None
    if not key.path and key in graph.pathless:
        return ""
    template = mined.of(key.path) if mined is not None else None
    return template.path if template is not None else key.path if key.protocol == "grpc" else "/none"


@given(FLOWS, st.randoms(use_true_random=False))
def test_order_changes_nothing(flows: list[Flow], chance: random.Random) -> None:
    graph, other = learn(flows), learn(chance.sample(flows, len(flows)))
    assert (graph.edges, graph.crowded, graph.unsaid) == (other.edges, other.crowded, other.unsaid)


def test_methods_and_paths_of_one_port_are_one_edge_with_all_counts() -> None:
    flows = [
        called("/shop.Cart/Add", count=2, at=10),
        called("/shop.Cart/Get", count=5, at=3),
        called("/shop.Cart/Add", count=1, at=90),
    ]
    (edge,) = learn(flows).edges
    assert edge.http == (HttpMatch("POST", "/shop.Cart/Add"), HttpMatch("POST", "/shop.Cart/Get"))
    assert (edge.count, edge.first_seen_ms, edge.last_seen_ms) == (8, 3, 90)


def test_a_source_that_calls_very_many_methods_gets_the_port() -> None:
    (edge,) = learn([called(f"/shop.Cart/M{number}") for number in range(MAX_PATHS + 1)]).edges
    assert edge.http == (HttpMatch("POST"),)


@pytest.mark.parametrize("path", ["/*", "/shop.Cart/*", "/{x}", "/a/*/b", "/a b", "/a#b", "/" + "x" * 2000, "/caf\u00e9"])
def test_a_grpc_path_that_a_rule_would_read_otherwise_asks_for_nothing(path: str) -> None:
    """A caller that sends a pattern in learn mode would have it approved as one."""
    assert learn([called(path)]).edges == ()
    assert [edge.http for edge in learn([called(path), called("/a")]).edges] == [(HttpMatch("POST", "/a"),)]


def test_words_that_all_sources_together_show_to_be_values_are_so_for_each() -> None:
    flows = [flow(f"/users/u{letter}/orders", source=f"shop/{letter}") for letter in "abc"]
    graph = learn(flows, RULE)
    assert [edge.http for edge in graph.edges] == [(HttpMatch("GET", "/users/{name}/orders"),)] * 3
    template = graph.template(graph.edges[0], graph.edges[0].http[0])
    assert template is not None
    assert template.parameters[0].why is Why.SIBLINGS
    assert template.parameters[0].values == 3
    assert graph.template(graph.edges[0], HttpMatch("GET", "/other")) is None


def test_evidence_of_identifiers_comes_through_from_all_sources() -> None:
    graph = learn([flow(f"/users/{number}", source=f"shop/{'ab'[number % 2]}") for number in range(6)])
    template = graph.template(graph.edges[0], HttpMatch("GET", "/users/{id}"))
    assert template is not None
    assert template.reasons[0].startswith("{id}: looks like an identifier; 6 different seen there, whatever follows, as ")


def test_requests_that_no_rule_can_say_are_named_and_ask_for_nothing() -> None:
    graph = learn([flow("/a/../b"), flow("/ok"), flow("/{x}", source="shop/odd"), flow("/ok", "G(T", source="shop/bad")])
    assert [(edge.source, edge.http) for edge in graph.edges] == [("shop/front", (HttpMatch("GET", "/ok"),))]
    assert [edge.source for edge in graph.unsaid] == ["shop/bad", "shop/front", "shop/odd"]


def test_requests_of_which_no_path_is_known_do_not_make_known_ones_wider() -> None:
    """Whoever makes up more paths than a sidecar tells apart would get any path approved."""
    graph = learn([flow("/ok"), flow(""), flow("", "POST")])
    assert graph.edges[0].http == (HttpMatch("GET", "/ok"), HttpMatch("POST"))
    assert [edge.method for edge in graph.unsaid] == ["GET"]
    assert [edge.method for edge in graph.pathless] == ["POST"]


def test_a_source_that_uses_very_many_templates_gets_the_method() -> None:
    words = [f"w{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(MAX_PATHS + 1)]
    graph = learn([flow(f"/{word}/{word}x") for word in words])
    assert [edge.http for edge in graph.edges] == [(HttpMatch("GET"),)]


def test_a_crowded_port_is_named() -> None:
    many = [flow(f"/{chr(97 + number % 26)}{chr(97 + number // 26 % 26)}{chr(97 + number // 676)}") for number in range(5000)]
    graph = learn([*many, flow("/quiet", port=81)])
    assert graph.crowded == {("shop/cart", 80)}


@given(st.lists(FLOWS, min_size=2, max_size=4), st.data())
def test_learning_again_gives_what_learning_anew_gives(seen: list[list[Flow]], data: st.DataObject) -> None:
    """Edges come, are used again and go; evidence that did not change is the very object, as a store gives it."""
    relearning, kept = Relearning(RULE), dict[EdgeKey, Evidence]()
    for flows in seen:
        ledger = Ledger()
        for one in flows:
            moved = one.edge._replace(destination=data.draw(st.sampled_from(["shop/cart", "shop/pay"])))
            ledger.add(replace(one, edge=moved))
        for edge in data.draw(st.sets(st.sampled_from(sorted(kept)))) if kept else ():
            del kept[edge]
        kept |= ledger.edges
        assert relearning.learn(dict(kept)) == relearn(kept, RULE)
        assert relearning.learn(dict(kept)) is relearning.learn(dict(kept))


def test_a_use_of_one_port_leaves_what_was_learned_of_others() -> None:
    relearning, ledger = Relearning(RULE), Ledger()
    for port in (80, 81):
        ledger.add(flow("/users/7", port=port))
    before = relearning.learn(dict(ledger.edges))
    again = Ledger()
    again.add(flow("/users/7", port=80))
    (edge,) = again.edges
    after = relearning.learn({**ledger.edges, edge: again.edges[edge]})
    assert [a is b for a, b in zip(before.edges, after.edges, strict=True)] == [False, True]
