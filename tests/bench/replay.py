"""Stored flows replayed a second, and judged for parity, on one core: a week of 10,000 edges by the hour, a list of 1,000 services.

The raw limit is counting the same flows in a dict.
"""

from __future__ import annotations

import time

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.parity import parity
from controlplane.graph.replay import replay
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.policy.timeline import ModeSet, timeline
from controlplane.topology.model import ServiceName, Topology
from tests.bench.measurement import Measurement

SERVICES = 1_000
CALLERS = 10
HOURS = 7 * 24


def run() -> list[Measurement]:
    """Measure."""
    policy, seen = _policy(), _flows()
    started = time.perf_counter()
    counts: dict[EdgeKey, int] = {}
    for flow in seen:
        counts[flow.edge] = counts.get(flow.edge, 0) + flow.count
    counted = time.perf_counter()
    found = replay(policy, seen)
    done = time.perf_counter()
    if found.denied * 10 != found.allowed + found.denied:
        raise RuntimeError("one in ten is not approved, and the replay says otherwise")
    held = timeline({1: 0}, [ModeSet(-HOUR_MS, None, Mode.LEARN)], [], -HOUR_MS)
    judged = parity(held, {0: Policy(), 1: policy}.get, Topology({}), reversed(seen))
    ended = time.perf_counter()
    if judged.disagreed or judged.agreed != found.allowed + found.denied:
        raise RuntimeError("all pass in learn, and parity says otherwise")
    raw = len(seen) / (counted - started)
    return [
        Measurement("stored flows replayed", len(seen) / (done - counted), "flows/s", 200_000, at_least=True, raw=raw),
        Measurement("stored flows judged for parity", len(seen) / (ended - done), "flows/s", 200_000, at_least=True, raw=raw),
    ]


def _policy() -> Policy:
    services = {}
    for number in range(SERVICES):
        name = ServiceName("bench", f"service-{number}")
        callers = (WorkloadId("bench", f"caller-{(number + step) % SERVICES}") for step in range(1, CALLERS))
        services[name] = ServicePolicy(name, tuple(Rule(caller, 8080, (HttpMatch("GET", "/items/{id}"),)) for caller in callers), 1)
    return Policy(1, services)


def _flows() -> list[HourlyFlow]:
    """As a store reads them: each flow has texts of its own."""
    return [
        HourlyFlow(
            EdgeKey(
                f"bench/caller-{(number + step) % SERVICES}", f"bench/service-{number}", 8080, "http", "GET", f"/items/{hour % 7}"
            ),
            Verdict.ALLOWED, hour, 3, "", "in",
        )
        for hour in range(HOURS) for number in range(SERVICES) for step in range(CALLERS)
    ]  # fmt: skip
