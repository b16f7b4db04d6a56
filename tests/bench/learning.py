"""Learning at size: 10,000 workloads, 1,000,000 edges. Learn rate, full re-learn, differences, reach, readiness, and memory.

Runs in a process of its own, so that memory is this scenario's. The raw limit of learning is counting the same flows in a dict.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.cover import unapproved
from controlplane.graph.diff import diff_graphs, diff_policies
from controlplane.graph.learn import GraphEdge
from controlplane.graph.ledger import Ledger
from controlplane.graph.reach import Reach, blast_radius, call_graph
from controlplane.graph.readiness import assess_all
from controlplane.graph.relearn import LearnedGraph, relearn
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.bench.measurement import Measurement

Result = TypeVar("Result")
WORKLOADS = 10_000
EDGES = 1_000_000
_RESOURCES = ("orders", "users", "carts", "things", "reports")
_START_MS = 1_700_000_000_000


def run() -> list[Measurement]:
    """Measure."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure).result()


def flows() -> Iterator[Flow]:
    """One flow for each edge: a third GET, a third POST with identifiers in the path, a third plain TCP; over 14 days."""
    names = [f"ns{number % 50}/workload-{number}" for number in range(WORKLOADS)]
    for number in range(EDGES):
        source, destination = names[number % WORKLOADS], names[(number * 7919 + number // WORKLOADS * 31) % WORKLOADS]
        at_ms = _START_MS + number * 977 % (14 * 86_400_000)
        method = ("GET", "POST", "")[number % 3]
        path = f"/api/v1/{_RESOURCES[number % 5]}/{number % 1000}" if method else ""
        edge = EdgeKey(source, destination, 8080 + number % 3, "http" if method else "tcp", method, path)
        address = f"10.0.{number % WORKLOADS // 256}.{number % 256}"
        yield Flow(edge, Verdict.ALLOWED, destination, "in", 3, at_ms, at_ms + 5000, peer_address=address)


def _measure() -> list[Measurement]:
    ledger, rates = _ledger()
    seconds, graph = _timed(lambda: relearn(ledger.edges))
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        *rates,
        Measurement("full re-learn: 10,000 workloads, 1,000,000 edges", seconds, "s", 20),
        Measurement("memory of it, evidence and graph", memory_mib, "MiB", 4096),
        Measurement("readiness of every service and of all", _timed(lambda: assess_all(ledger.edges, {}))[0], "s"),
        *_differences(graph),
        *_policies(),
        *_reach(graph),
    ]


def _ledger() -> tuple[Ledger, list[Measurement]]:
    seen = list(flows())
    ledger = Ledger()
    raw = EDGES / _timed(lambda: _count(seen))[0]
    fresh, known = (EDGES / _timed(lambda: _learn(ledger, seen))[0] for _ in range(2))
    return ledger, [
        Measurement("flows of known edges learned", known, "flows/s", raw=raw),
        Measurement("flows of new edges learned", fresh, "flows/s", raw=raw),
    ]


def _differences(graph: LearnedGraph) -> list[Measurement]:
    """Against the same graph with other objects, and one port in six without its edges."""
    edges = {(edge.source, edge.destination, edge.port, edge.protocol): edge.http for edge in graph.edges}
    other = {(*key,): (*http,) for key, http in edges.items() if key[2] != 8081 or key[0] < key[1]}
    seconds = _timed(lambda: diff_graphs(edges, other))[0]
    return [Measurement("difference of two learned graphs, 1,000,000 edges", seconds, "s")]


def _policies() -> list[Measurement]:
    before, after = _policy(1), _policy(2)
    learned = [
        GraphEdge(str(rule.source), str(name), rule.port, "http", rule.http, 1, 1, 1)
        for name, listed in after.services.items()
        for rule in listed.rules
    ]
    revisions = _timed(lambda: diff_policies(before, after))[0]
    unheld = _timed(lambda: unapproved(before, learned))[0]
    return [
        Measurement("difference of two revisions, 1,000,000 rules, 100 services changed", revisions, "s", 1),
        Measurement("learned against approved, 1,000,000 edges, 10,000 not held", unheld, "s", 1),
    ]


def _policy(revision: int) -> Policy:
    workloads = [WorkloadId("ns", f"w{number}") for number in range(WORKLOADS)]
    services = {}
    for number in range(WORKLOADS):
        name = ServiceName("ns", f"s{number}")
        methods = (HttpMatch("GET", "/a" if number % 100 else f"/r{revision}"),)
        callers = (workloads[(number * 7 + step * 97) % WORKLOADS] for step in range(EDGES // WORKLOADS))
        services[name] = ServicePolicy(name, tuple(Rule(caller, 8080, methods) for caller in callers), revision)
    return Policy(revision, services)


def _reach(graph: LearnedGraph) -> list[Measurement]:
    pairs = [(edge.source, edge.destination) for edge in graph.edges]
    forward = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
    first, reach = _timed(lambda: Reach(call_graph(forward)))
    blast = _timed(lambda: blast_radius(reach, [(forward[7][0], "ns/new-database")]))[0]
    return [
        Measurement("reach of a revision, 1,000,000 edges, once", first, "s"),
        Measurement("blast radius of one more edge", blast, "s"),
    ]


def _learn(ledger: Ledger, seen: list[Flow]) -> None:
    for flow in seen:
        ledger.add(flow, flow.peer_address)


def _count(seen: list[Flow]) -> None:
    counts: dict[EdgeKey, int] = {}
    for flow in seen:
        counts[flow.edge] = counts.get(flow.edge, 0) + flow.count


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
