"""The API's answers, saved to a file, are read as the values that a check needs."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api import schemas, shapes
from controlplane.graph.chart import chart
from controlplane.graph.learn import GraphEdge
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.answers import AnswerError, read_map, read_policy
from controlplane.policy.revise import merge
from controlplane.policy.rules import HttpMatch, Mode, Policy
from controlplane.topology.document import parse_topology
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies

TOPOLOGY = parse_topology(
    b"services:\n- {name: cart, namespace: shop, kind: service, ports: [{port: 80, protocol: http}]}\n", "mesh.yaml"
).topology
EDGES = [
    GraphEdge("shop/web", "shop/cart", 80, "http", (HttpMatch("GET", "/x"),), 5, 1000, 2000),
    GraphEdge("ip:10.0.0.1", "shop/cart", 81, "tcp", (), 1, 1000, 3000),
    GraphEdge("shop/web", "not a service", 81, "tcp", (), 1, 1000, 3000),
]


def _map(policy: Policy, *, leave_out: int = 0) -> bytes:
    charted = chart(policy, EDGES, TOPOLOGY)
    answer = schemas.Map(
        revision=policy.revision,
        services=[shapes.map_service(service, policy) for service in TOPOLOGY.services.values()],
        edges=[shapes.map_edge(edge) for edge in charted][: len(charted) - leave_out],
        edge_count=len(charted),
    )
    return msgspec.json.encode(answer)


@given(policies())
def test_a_policy_is_read_as_the_api_answered_it(policy: Policy) -> None:
    found = read_policy(msgspec.json.encode(shapes.revision(None, policy, policy.revision)), policy.modes, policy.default_mode)
    assert (found.revision, found.modes, found.default_mode) == (policy.revision, policy.modes, policy.default_mode)
    for name in {*policy.services, *found.services}:
        assert merge(found.of(name).rules) == merge(policy.of(name).rules)


def test_a_map_is_read_as_the_api_answered_it() -> None:
    seen = read_map(_map(Policy(3, {}, {ServiceName("shop", "cart"): Mode.AUDIT})))
    assert (list(seen.topology.services), seen.modes, seen.unread) == (
        [ServiceName("shop", "cart")], {ServiceName("shop", "cart"): Mode.AUDIT}, 1,
    )  # fmt: skip
    assert sorted((str(use.source), use.port, use.http, use.count, use.last_seen_ms) for use in seen.uses) == [
        ("ip:10.0.0.1/32", 81, (), 1, 3000), ("shop/web", 80, (HttpMatch("GET", "/x"),), 5, 2000),
    ]  # fmt: skip
    assert seen.uses[0].destination == ServiceName("shop", "cart")
    assert WorkloadId("shop", "cart") in seen.topology.by_workload


def test_an_edge_that_was_never_used_is_no_use() -> None:
    document = json.loads(_map(Policy(1)))
    for edge in document["edges"]:
        edge["last_seen_ms"] = None
    assert read_map(json.dumps(document).encode()).uses == ()


def test_a_map_that_leaves_edges_out_is_refused() -> None:
    with pytest.raises(AnswerError, match="2 of 3 edges; ask with a higher limit"):
        read_map(_map(Policy(1), leave_out=1))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"revision": 1, "services": [{"service": "a/b/c", "rules": []}]}', "\xff"])
def test_another_text_is_refused(text: str) -> None:
    body = text.encode("latin-1")
    with pytest.raises(AnswerError, match="not an answer of the API's /policy"):
        read_policy(body)
    with pytest.raises(AnswerError, match="not an answer of the API's /map"):
        read_map(body)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    for read in (read_policy, read_map):
        with pytest.raises(AnswerError):
            read(body)
