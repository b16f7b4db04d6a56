"""A real Envoy that takes an application's redirected connections, and everything that can be dialled, in a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Policy
from controlplane.topology.model import Guard, Kind, Port, Service, ServiceName, Topology
from controlplane.xds.outbound import REDIRECT_PORT
from tests.controlplane.xds.inbound_world import own_tls
from tests.harness.application import GREETING, Application
from tests.harness.callers import Answer, http1, talk
from tests.harness.envoy import EnvoyUnderTest, envoy_under_test
from tests.harness.namespace import Namespace, namespace

SOURCE = WorkloadId("shop", "source")


def meshed(name: str, number: int, *ports: Port) -> Service:
    """A service with an address that is dialled and another where its sidecar listens."""
    return Service(ServiceName("shop", name), Kind.SERVICE, ports, (f"10.99.1.{number}",), (f"10.99.2.{number}",))


def outside(name: str, number: int, port: Port, namespace_: str = "shop") -> Service:
    """A host outside the mesh; where it is, only the control plane knows."""
    return Service(ServiceName(namespace_, name), Kind.EXTERNAL, (port,), (), (f"10.99.3.{number}",))


WEB = meshed("web", 1, Port(80, "http", 8080), Port(81, "http", 8081))
CACHE = meshed("cache", 2, Port(6379, "redis", 6379))
DB = meshed("db", 3, Port(3306, "mysql", 3306))
ANY = meshed("any", 4, Port(7000, "auto", 7000), Port(80, "auto", 8080))
API = outside("api.test", 1, Port(443, "https", 443))
PLAIN = outside("Plain.test", 2, Port(80, "http", 80))
ROGUE = outside("rogue.test", 3, Port(443, "https", 443), "external")
FEED = Service(ServiceName("shop", "feed.test"), Kind.EXTERNAL, (Port(7100, "auto", 7100),), ("10.99.3.5",), ("10.99.3.5",))
LEDGER = Service(ServiceName("shop", "ledger.test"), Kind.EXTERNAL, (Port(5432, "postgres", 5432),), ("10.99.3.4",), ("10.99.3.4",))
#: In the cluster, without a sidecar: reached as it is dialled.
LEGACY = Service(
    ServiceName("shop", "legacy"), Kind.SERVICE, (Port(82, "http", 82), Port(7200, "auto", 7200), Port(1433, "mssql", 1433)),
    ("10.99.1.9",), ("10.99.1.9",), guard=Guard.NONE,
)  # fmt: skip
SERVICES = (WEB, CACHE, DB, ANY, API, PLAIN, ROGUE, LEDGER, FEED, LEGACY)
TOPOLOGY = Topology.of([*SERVICES, Service(ServiceName(*SOURCE), Kind.SERVICE)])
#: Listens on every port that is dialled, and is in no topology.
UNKNOWN = "10.99.4.1"
UNKNOWN_PORTS = (80, 443, 3306, 6379, 7000, 9000)


@dataclass(frozen=True, slots=True)
class Dial:
    """One connection of the application: where to, and what it says. ``name`` is a Host header or a TLS server name.

    Kinds: ``http``, ``tls`` (the application's own), ``text``, and ``silent`` (waits for the server). An ``http`` request asks
    for the marker below ``folder``.
    """

    address: str
    port: int
    kind: str
    name: str = ""
    method: str = "GET"
    folder: str = "/"


@dataclass
class OutboundWorld:
    """The Envoy, and what can be reached: (address, port) -> application."""

    envoy: EnvoyUnderTest
    inside: Namespace
    applications: dict[tuple[str, int], Application]
    attempts: int = 0

    def begin(self) -> None:
        """Forget what was before."""
        for application in self.applications.values():
            application.forget()
        self.envoy.new_log_lines()

    async def dial(self, dial: Dial, marker: str) -> Answer:
        """Connect and send; the marker is in what is sent."""

        async def connecting() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(sock=await self.inside.connect(dial.address, dial.port))

        if dial.kind == "http":
            said, enough = http1(dial.method, f"{dial.folder}{marker}", dial.name), b"\r\n\r\n"
        elif dial.kind == "tls":
            said = enough = own_tls(dial.name or None, marker)
        elif dial.kind == "text":
            said = enough = f"{marker}\n".encode()
        else:
            said, enough = b"", GREETING
        return await talk(connecting(), said, (enough, GREETING, b"HTTP/1.1 400"))

    def reached(self, marker: str) -> list[tuple[str, int]]:
        """Where something with this marker arrived."""
        return [
            place
            for place, application in self.applications.items()
            if any(request.target.endswith(f"/{marker}") for request in application.requests)
            or any(marker.encode() in text for text in application.texts)
        ]

    async def lines(self, connections: int) -> list[dict[str, Any]]:
        """The new lines of the log, once each of so many connections has its last one."""
        found: list[dict[str, Any]] = []
        for _ in range(500):
            found += self.envoy.new_log_lines()
            if len({(line["k"], line["id"]) for line in found if line["type"].endswith("End")}) >= connections:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{connections} connections were made, and the log tells of {found}")


@asynccontextmanager
async def outbound_world() -> AsyncIterator[OutboundWorld]:
    """All of it, ended afterwards."""
    addresses = sorted({a for service in SERVICES for a in (*service.addresses, *service.endpoints)} | {UNKNOWN})
    async with AsyncExitStack() as stack:
        inside = await stack.enter_async_context(namespace(addresses, REDIRECT_PORT))
        envoy = await stack.enter_async_context(envoy_under_test(TOPOLOGY, SOURCE, Policy(), inside.enter))
        applications: dict[tuple[str, int], Application] = {}
        for service in SERVICES:
            for port in service.ports:
                place = (service.endpoints[0], port.target)
                application = applications[place] = Application(port.protocol == "mysql")
                stack.push_async_callback(application.stop)
                tls = envoy.server_context(service.workload) if service.meshed else None
                await application.start_on(inside.listen(*place), tls)
        for number in UNKNOWN_PORTS:
            application = applications[UNKNOWN, number] = Application(number == 3306)
            stack.push_async_callback(application.stop)
            await application.start_on(inside.listen(UNKNOWN, number))
        yield OutboundWorld(envoy, inside, applications)
