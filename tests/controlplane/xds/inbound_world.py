"""A real Envoy before an application with one port of each kind, and attempts to reach it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds.tls import ALPN, ALPN_HTTP
from tests.harness.application import GREETING, Application
from tests.harness.callers import HTTP2_ANSWERS, Answer, call, http1, http2
from tests.harness.envoy import EnvoyUnderTest, envoy_under_test

TARGET = ServiceName("shop", "target")
#: HTTP as declared, a protocol to be found by inspection, bytes, and bytes of a server that speaks first.
HTTP, AUTO, TCP, SILENT = 18080, 18081, 18379, 18306
PORTS = (Port(HTTP, "http", HTTP), Port(AUTO, "auto", AUTO), Port(TCP, "redis", TCP), Port(SILENT, "mysql", SILENT))
PEERS = FRONT, CART, SHADY = [WorkloadId("shop", name) for name in ("front", "cart", "shady")]
#: Addresses of loopback of our own, so that several test processes do not meet.
_OWN = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250 + 1}"
#: Who the connection is for that is made after those that are looked at.
LAST = "last.test"
SIDECAR, APPLICATION = f"{_OWN}.1", f"{_OWN}.2"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request or connection. ``peer`` has a certificate; without one the connection is plaintext, from ``address``.

    Kinds: ``http1``, ``http2``, ``tcp`` (a line of text; on the silent port nothing), ``smuggled`` (HTTP where bytes were
    promised) and ``tls`` (an application's own).
    """

    port: int
    peer: WorkloadId | None
    address: str
    kind: str
    method: str = ""
    target: str = ""

    @property
    def is_http(self) -> bool:
        """Whether each request is decided on."""
        return self.kind in {"http1", "http2"}


def policy(*rules: Rule, mode: Mode = Mode.ENFORCE, revision: int = 1, barred: tuple[WorkloadId, ...] = ()) -> Policy:
    """The target's rules and mode, and who is quarantined."""
    modes = {TARGET: mode} | {ServiceName(*peer): Mode.QUARANTINE for peer in barred}
    return Policy(revision, {TARGET: ServicePolicy(TARGET, rules, revision)}, modes)


def own_tls(name: str | None, alpn: str = "http/1.1") -> bytes:
    """The first bytes of an application's own TLS connection that asks for HTTP and for a server's name."""
    context, incoming, outgoing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO(), ssl.MemoryBIO()
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1", alpn])
    talk = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        talk.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


@dataclass
class InboundWorld:
    """The Envoy, and the application behind it by port."""

    envoy: EnvoyUnderTest
    applications: dict[int, Application]
    attempts: int = 0

    def begin(self) -> None:
        """Forget what was before."""
        for application in self.applications.values():
            application.forget()
        self.envoy.new_log_lines()

    def new_markers(self, count: int) -> list[str]:
        """Host names that were not used before."""
        self.attempts += count
        return [f"case{self.attempts - number}.test" for number in range(count)]

    def tls(self, peer: WorkloadId | None, port: int, *, http: bool) -> ssl.SSLContext | None:
        """What a sidecar of this peer would offer to a port."""
        return None if peer is None else self.envoy.client_context(peer, ALPN_HTTP if port == AUTO and http else ALPN)

    async def raw(self, port: int, said: bytes, peer: WorkloadId | None = FRONT, enough: tuple[bytes, ...] = ()) -> Answer:
        """Send HTTP bytes as they are."""
        return await call((SIDECAR, port), said, tls=self.tls(peer, port, http=True), enough=enough)

    async def send(self, attempt: Attempt, marker: str) -> Answer:
        """Make an attempt whose host, text or server name is the marker."""
        address, source = (SIDECAR, attempt.port), attempt.address
        tls = self.tls(attempt.peer, attempt.port, http=attempt.is_http)
        if attempt.kind == "http2":
            return await call(address, http2(attempt.method, attempt.target, marker), source=source, tls=tls, enough=HTTP2_ANSWERS)
        if attempt.kind in {"http1", "smuggled"}:
            said = http1(attempt.method, attempt.target, marker)
            return await call(address, said, source=source, tls=tls, enough=(b"\r\n\r\n",))
        said = own_tls(marker) if attempt.kind == "tls" else b"" if attempt.port == SILENT else f"{marker}\n".encode()
        return await call(address, said, source=source, tls=tls, enough=(said or GREETING,))

    async def lines(self, connections: int, answered: Collection[str] = ()) -> list[dict[str, Any]]:
        """All new lines of the log, of so many connections that have ended and of the requests that were answered, by their hosts.

        Envoy writes the line of a connection's end before those of its filters, and one of both may be read without the
        other. So one more connection is made after them: what comes before its line is whole.
        """
        found = await self._until_ended([], connections, answered)
        await call((SIDECAR, HTTP), http1("GET", "/", LAST))
        found = await self._until_ended(found, connections + 1)
        last = next(line["id"] for line in reversed(found) if line["k"] == "conn")
        return [line for line in found if line["id"] != last]

    async def _until_ended(
        self, found: list[dict[str, Any]], connections: int, answered: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        for _ in range(500):
            found = found + self.envoy.new_log_lines()
            told = {line["host"] for line in found if line["k"] == "http"}
            if sum(line["k"] == "conn" for line in found) >= connections and told.issuperset(answered):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{connections} connections were made, and the log tells of {found}")


@asynccontextmanager
async def inbound_world() -> AsyncIterator[InboundWorld]:
    """All of it, ended afterwards."""
    service = Service(TARGET, Kind.SERVICE, PORTS, (SIDECAR,), (SIDECAR,), APPLICATION, "explicit")
    applications = {port.number: Application(port.number == SILENT) for port in PORTS}
    try:
        for port, application in applications.items():
            await application.start(APPLICATION, port)
        async with envoy_under_test(Topology.of([service]), service.workload, policy()) as envoy:
            yield InboundWorld(envoy, applications)
    finally:
        for application in applications.values():
            await application.stop()
