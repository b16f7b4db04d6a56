"""Online Boutique after ten days of traffic: most of it is approved, something is new, something was denied. Always the same."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from controlplane.api.listen import ApiServer
from controlplane.demo.preflight import DEFAULT_TOPOLOGY
from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.policy.rules import Mode
from controlplane.settings import parse_listen
from controlplane.store.stored import SidecarRow
from controlplane.topology.document import TopologyDocument, parse_topology
from controlplane.topology.model import ServiceName
from controlplane.web.app import create_console, together
from controlplane.web.sessions import Sessions
from controlplane.web.tails import Tails
from tests.harness.directories import short_directory
from tests.harness.plane import Plane, plane

#: A Wednesday noon, UTC.
NOW_MS = 1_795_608_000_000
HOUR_MS = 3_600_000
DAYS = 10
_EPOCH = "b" * 32
#: Seen for the first time after the approval.
NEW = (
    EdgeKey("default/recommendationservice", "default/adservice", 9555, "grpc", "POST", "/hipstershop.AdService/GetAds"),
    EdgeKey("default/emailservice", "external/smtp.example.org", 587, "tls", "", ""),
)
DENIED = (
    EdgeKey("default/adservice", "default/redis-cart", 6379, "redis", "", ""),
    EdgeKey("default/loadgenerator", "default/paymentservice", 50051, "grpc", "POST", "/hipstershop.PaymentService/Charge"),
    EdgeKey("ip:10.20.30.40", "default/frontend", 80, "http", "GET", "/wp-login.php"),
)


def _edges(document: TopologyDocument) -> list[EdgeKey]:
    found = []
    for edge in document.edges:
        asked = [(one.method, one.path.replace("{id}", "66VCHSJNUP")) for one in edge.requests] or [("", "")]
        found += [EdgeKey(str(edge.source), str(edge.destination), edge.port, edge.protocol, *one) for one in asked]
    return found


def fill(made: Plane) -> None:
    """Let ten days pass."""
    document = parse_topology(DEFAULT_TOPOLOGY.read_bytes(), "online-boutique.yaml")
    edges, numbers = _edges(document), defaultdict[str, Iterator[int]](lambda: count(1))
    workloads = sorted(str(service.workload) for service in document.topology.services.values())

    def report(workload: str, at_ms: int, *flows: Flow) -> None:
        with made.store.transaction() as transaction:
            name = workload.rpartition("/")[2]
            transaction.record_batch(workload, f"{name}-7d9f-x2x{len(name) % 7}", _EPOCH, next(numbers[workload]), flows, 0, at_ms)

    def used(edge: EdgeKey, at_ms: int, times: int) -> Flow:
        return Flow(edge, Verdict.ALLOWED, edge.destination, "in", times, at_ms, at_ms)

    for day in range(DAYS, 0, -1):
        at_ms = NOW_MS - (24 * day - 18) * HOUR_MS
        for workload in workloads:
            own = [used(edge, at_ms, 160 + 4 * len(edge.path)) for edge in edges if edge.destination == workload]
            report(workload, at_ms, *own)
    made.now_ms = NOW_MS - 2 * 24 * HOUR_MS
    made.review.refresh_proposal()
    made.review.approve(1, "ana", "the first ten days", rows=range(1, 16))
    made.now_ms = NOW_MS
    for number, edge in enumerate(NEW):
        report(edge.source, NOW_MS - (5 + number) * HOUR_MS, used(edge, NOW_MS - (5 + number) * HOUR_MS, 3))
    modes = {"paymentservice": Mode.ENFORCE, "redis-cart": Mode.ENFORCE, "frontend": Mode.AUDIT, "cartservice": Mode.AUDIT}
    for name, mode in modes.items():
        made.review.modes.change([ServiceName("default", name)], mode, "ana")
    for number, edge in enumerate(DENIED):
        at_ms = NOW_MS - (1 + number) * HOUR_MS // 2
        verdict = Verdict.WOULD_DENY if edge.destination.endswith("frontend") else Verdict.DENIED
        flow = Flow(edge, verdict, edge.destination, "in", 4 + number, at_ms, at_ms)
        report(edge.destination, at_ms, replace(flow, deny_id=f"deny:{edge.destination}@r1"))
    for number, workload in enumerate(workloads):
        name = workload.rpartition("/")[2]
        row = SidecarRow(
            workload, f"{name}-7d9f-x2x{len(name) % 7}", connected=True, connected_ms=NOW_MS - 30 * HOUR_MS, sent_version="a1",
            acked_version="a1" if number != 3 else "a0", revision=1, last_report_ms=NOW_MS - 2_000, agent_version="0.1.0",
            envoy_version="1.40.0", capture="redirect", certificate_not_after_ms=NOW_MS + 40 * 60_000,
        )  # fmt: skip
        made.sidecar(row)
        report(workload, NOW_MS - 2_000)


@contextmanager
def lived() -> Iterator[Path]:
    """The database after those days: it takes a while to be made, and is copied for each console."""
    with plane(DEFAULT_TOPOLOGY.read_bytes()) as made:
        fill(made)
        yield made.directory / "picket.db"


@contextmanager
def console(database: Path) -> Iterator[tuple[Plane, str, Sessions]]:
    """A control plane on a copy of the database, its address on a real port, and who is signed in there."""
    with short_directory("lived") as directory:
        copy = directory / "picket.db"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with plane(DEFAULT_TOPOLOGY.read_bytes(), f"sqlite:///{copy}") as made:
            made.now_ms = NOW_MS
            sessions, tails = Sessions(made.store, lambda: made.now_ms), Tails()
            app = create_console(made.services(), sessions, None, tails)
            server = ApiServer(together(made.app(), app), parse_listen("127.0.0.1:0", "test"))
            try:
                yield made, server.address, sessions
            finally:
                tails.stop()
                server.close()
