"""One edge changed in a 1,000-peer allow-list: the list's new bytes, and the service's whole snapshot. Pure: no server, no Envoy.

The raw limit is joining the list's entries, which are bytes already, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import added, revise, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds.allowlist import AllowListBuilder, Filter
from controlplane.xds.compile import Compiler
from controlplane.xds.lists import lists_of
from controlplane.xds.tls import Trust
from tests.bench.measurement import Measurement, median

PEERS = 1_000
ROUNDS = 200
_SERVICE = ServiceName("bench", "server")
_PORT = 8080


def run() -> list[Measurement]:
    """Measure."""
    policies = [_policy(n) for n in range(ROUNDS)]
    builder = AllowListBuilder("picket.local")
    lists = [lists_of(policy.of(_SERVICE).rules) for policy in policies]
    filters = [Filter(found[_PORT], "deny:bench/server@r1") for found in lists]
    builds = _milliseconds([lambda f=f: builder.build("allow", f, http=True, plaintext=False) for f in filters])  # type: ignore[misc]  # bound now
    compiler = Compiler(Trust("picket.local", b"-"))
    topology = Topology.of([Service(_SERVICE, Kind.SERVICE, (Port(_PORT, "http", _PORT),), ("10.0.0.1",), ("10.0.1.1",))])
    compiles = _milliseconds([lambda p=p: compiler.compile_snapshot(p, topology, WorkloadId(*_SERVICE)) for p in policies])  # type: ignore[misc]  # bound now
    parts = [f"entry of {200} bytes".encode().ljust(200) for _ in range(PEERS)]
    raw = _milliseconds([lambda: b"".join(parts)] * ROUNDS)
    return [
        Measurement("one edge of 1,000 changed: allow-list regenerated", median(builds[10:]), "ms", 0.2, raw=median(raw)),
        Measurement("the same: the sidecar's whole snapshot compiled", median(compiles[10:]), "ms"),
    ]


def _policy(number: int) -> Policy:
    peers = [WorkloadId("bench", f"peer-{n}") for n in range(PEERS)]
    peers[number] = WorkloadId("bench", "newcomer")
    empty = Policy(0, {}, {}, Mode.ENFORCE)
    return revise(empty, added(rule_sets(empty), [(_SERVICE, Rule(peer, _PORT)) for peer in peers]), 1)


def _milliseconds(acts: list[Callable[[], object]]) -> list[float]:
    found = []
    for act in acts:
        started = time.perf_counter()
        act()
        found.append((time.perf_counter() - started) * 1000)
    return found
