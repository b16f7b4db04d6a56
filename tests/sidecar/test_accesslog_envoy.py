"""Lines that a real Envoy writes under compiled configuration mean what happened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.identity.authority import Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, UpstreamListener
from controlplane.xds.tls import ALPN
from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, INBOUND, OUTBOUND, WOULD_DENY, Observation
from sidecar.reporter import Reporter
from sidecar.spool import Spool
from tests.harness.envoy import TRUST_DOMAIN, EnvoyUnderTest, envoy_under_test, new_key
from tests.sidecar.received import CART, received

WEB, EVIL = WorkloadId("shop", "web"), WorkloadId("shop", "evil")
NAME, API = ServiceName("shop", "cart"), ServiceName("shop", "api")
SIDECAR, APPLICATION, DIALLED = "127.82.0.1", "127.82.0.2", "127.82.0.3"
HTTP_PORT, TCP_PORT = 18080, 16379
DENY = "deny:shop/cart@r7"
WAIT_SECONDS = 20.0


def topology() -> Topology:
    cart = Service(
        NAME,
        Kind.SERVICE,
        ports=(Port(HTTP_PORT, "http", HTTP_PORT), Port(TCP_PORT, "redis", TCP_PORT)),
        endpoints=(SIDECAR,),
        application=APPLICATION,
        capture="explicit",
        upstream_listeners=(UpstreamListener(API, 80, DIALLED, 18081),),
    )
    api = Service(API, Kind.SERVICE, ports=(Port(80, "http", 80),), endpoints=("127.82.0.4",))
    return Topology.of([cart, api, *(Service(ServiceName("shop", name), Kind.SERVICE) for name in ("web", "evil"))])


def policy(mode: Mode) -> Policy:
    rules = (Rule(WEB, HTTP_PORT, (HttpMatch("GET"),)), Rule(WEB, TCP_PORT))
    return Policy(revision=7, services={NAME: ServicePolicy(NAME, rules, revision=7)}, modes={NAME: mode, API: mode})


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application for both ports: HTTP where it is asked so, otherwise an echo."""
    try:
        while data := await reader.read(4096):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" if b" HTTP/1.1\r\n" in data else data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class Scene:
    """A sidecar's Envoy with its application and its reporter."""

    def __init__(self, envoy: EnvoyUnderTest, spool: Spool) -> None:
        self.envoy = envoy
        self.reopened = 0
        self._spool = spool
        self._seen: list[Observation] = []
        self._read_to = 0

    async def observed(self, wanted: Callable[[Observation], bool]) -> Observation:
        """The first report that fits."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for seen in self._seen:
                    if wanted(seen):
                        return seen
                await self._spool.wait_for(self._read_to)
                for sequence, body in self._spool.after(self._read_to, 100):
                    self._read_to = sequence
                    self._seen += received(body).observations

    @property
    def everything(self) -> list[Observation]:
        """All reports so far."""
        return self._seen


@asynccontextmanager
async def scene(mode: Mode, directory: Path, cut_bytes: int = 10**9) -> AsyncIterator[Scene]:
    servers = [await asyncio.start_server(_answer, APPLICATION, port) for port in (HTTP_PORT, TCP_PORT)]
    spool = Spool.open(directory / "spool", instance="cart-1", owner=str(CART))
    try:
        async with envoy_under_test(topology(), CART, policy(mode)) as envoy:
            stage = Scene(envoy, spool)

            async def reopen() -> None:
                stage.reopened += 1
                await _send(f"{envoy.directory}/admin.sock", b"POST /reopen_logs HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")

            async def none() -> int:
                return 0

            reporter = Reporter(
                envoy.directory / "access.log", spool, workload=str(CART), reopen=reopen, failed_writes=none,
                interval_seconds=0.1, cut_bytes=cut_bytes,
            )  # fmt: skip
            running = asyncio.create_task(reporter.run())
            try:
                yield stage
            finally:
                running.cancel()
                await asyncio.wait({running})
                await reporter.finish()
    finally:
        for server in servers:
            server.close()


async def _send(path: str, data: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    await reader.readline()
    writer.close()


async def call(port: int, data: bytes, context: ssl.SSLContext | None, host: str = SIDECAR) -> bytes:
    """Send something and return what comes back first; empty when the connection was refused or dropped."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                writer.write(data)
                return await reader.read(4096)
            finally:
                writer.close()
    except (ssl.SSLError, ConnectionError):
        return b""


def request(method: str = "GET", path: str = "/x/1?secret=1", headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: cart\r\n{headers}\r\n".encode()


def anybody(directory: Path, *, issuer: str | None = None) -> ssl.SSLContext:
    """A mesh-like client without a certificate, or with one that claims to be web, signed by somebody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    if issuer is not None:
        key, csr = new_key()
        svid = load_or_create(directory / "other-ca", issuer).sign(csr, WEB, timedelta(hours=1), datetime.now(UTC))
        assert isinstance(svid, Svid)
        file = directory / "other.pem"
        file.write_bytes(key + svid.chain_pem)
        context.load_cert_chain(file)
    return context


async def test_enforced(tmp_path: Path) -> None:
    async with scene(Mode.ENFORCE, tmp_path) as stage:
        web, evil = (stage.envoy.client_context(who) for who in (WEB, EVIL))

        assert b"200 OK" in await call(HTTP_PORT, request(), web)
        seen = await stage.observed(lambda s: s.method == "GET" and s.verdict == ALLOWED)
        assert (seen.direction, seen.service, seen.port, seen.protocol) == (INBOUND, "shop/cart", HTTP_PORT, "http")
        assert (seen.peer_id, seen.peer_address, seen.path) == (WEB.uri(TRUST_DOMAIN), "127.0.0.1", "/x/1")

        assert b"403" in await call(HTTP_PORT, request("POST", "/admin?secret=1", "content-length: 0\r\n"), web)
        seen = await stage.observed(lambda s: s.method == "POST")
        assert (seen.verdict, seen.deny_id, seen.path, seen.host) == (DENIED, DENY, "/admin", "cart")

        grpc = "content-type: application/grpc\r\ncontent-length: 0\r\n"
        await call(HTTP_PORT, request("POST", "/shop.Cart/Add", grpc), evil)
        seen = await stage.observed(lambda s: s.protocol == "grpc")
        assert (seen.verdict, seen.deny_id, seen.path, seen.peer_id) == (DENIED, DENY, "/shop.Cart/Add", EVIL.uri(TRUST_DOMAIN))

        assert await call(TCP_PORT, b"PING", web) == b"PING"
        seen = await stage.observed(lambda s: s.port == TCP_PORT and s.verdict == ALLOWED)
        assert (seen.peer_id, seen.protocol, seen.count) == (WEB.uri(TRUST_DOMAIN), "tcp", 1)

        assert await call(TCP_PORT, b"PING", evil) == b""
        seen = await stage.observed(lambda s: s.port == TCP_PORT and s.peer_id == EVIL.uri(TRUST_DOMAIN))
        assert (seen.verdict, seen.protocol, seen.count) == (DENIED, "tls", 1)
        assert "SAN" in seen.reason, "the control plane names such a denial by this"

        assert await call(TCP_PORT, b"PING", None) == b""
        seen = await stage.observed(lambda s: s.reason == "no mesh TLS")
        assert (seen.verdict, seen.deny_id, seen.port, seen.peer_id) == (DENIED, DENY, TCP_PORT, "")

        assert b"403" in await call(18081, request(), None, DIALLED)
        seen = await stage.observed(lambda s: s.direction == OUTBOUND)
        assert (seen.verdict, seen.dialled_address, seen.port) == (DENIED, DIALLED, 18081)
        assert seen.deny_id.startswith("deny:shop/cart@r")
        assert seen.deny_id.endswith("/egress")


@pytest.mark.parametrize("mode", [Mode.LEARN, Mode.ENFORCE])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"CONNECT cart:443 HTTP/1.1\r\nhost: cart:443\r\n\r\n", "route_not_found"),
        (b"OPTIONS * HTTP/1.1\r\nhost: cart\r\n\r\n", "absolute_path_rejected"),
        (request(headers="upgrade: something-new\r\nconnection: upgrade\r\n"), "upgrade_failed"),
    ],
)
async def test_what_envoy_never_passes_on_is_a_violation(tmp_path: Path, mode: Mode, said: bytes, reason: str) -> None:
    async with scene(mode, tmp_path) as stage:
        for who in (WEB, EVIL):
            answer = await call(HTTP_PORT, said, stage.envoy.client_context(who))
            assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 403")), answer
        await stage.observed(lambda _: sum(seen.count for seen in stage.everything) == 2)
        for seen in stage.everything:
            assert (seen.verdict, seen.service, seen.port) == (DENIED, "shop/cart", HTTP_PORT)
            # A tunnel gets as far as the allow-list, where there is one.
            assert seen.reason == reason or (seen.deny_id == DENY and mode is Mode.ENFORCE and said.startswith(b"CONNECT")), seen
        assert {seen.peer_id for seen in stage.everything} == {WEB.uri(TRUST_DOMAIN), EVIL.uri(TRUST_DOMAIN)}


async def test_a_tunnel_to_what_may_not_be_called_is_denied_under_its_name(tmp_path: Path) -> None:
    async with scene(Mode.ENFORCE, tmp_path) as stage:
        answer = await call(18081, b"CONNECT api:80 HTTP/1.1\r\nhost: api:80\r\n\r\n", None, DIALLED)
        assert answer.startswith(b"HTTP/1.1 403")
        seen = await stage.observed(lambda s: s.direction == OUTBOUND)
        assert (seen.verdict, seen.method) == (DENIED, "CONNECT")
        assert seen.deny_id.endswith("/egress")


@pytest.mark.parametrize("port", [HTTP_PORT, TCP_PORT])
async def test_peers_without_a_certificate_that_counts(tmp_path: Path, port: int) -> None:
    async with scene(Mode.ENFORCE, tmp_path) as stage:
        assert await call(port, request(), anybody(tmp_path)) == b""
        seen = await stage.observed(lambda s: s.reason.startswith("PEER_DID_NOT_RETURN_A_CERTIFICATE"))
        assert (seen.verdict, seen.peer_id, seen.port, seen.count) == (DENIED, "", port, 1)

        assert await call(port, request(), anybody(tmp_path, issuer=TRUST_DOMAIN)) == b""
        seen = await stage.observed(lambda s: s.reason.endswith(f"it called itself {WEB.uri(TRUST_DOMAIN)}"))
        assert (seen.verdict, seen.peer_id, seen.port, seen.count) == (DENIED, "", port, 1)

        assert await call(TCP_PORT, b"PING", stage.envoy.client_context(WEB)) == b"PING"
        await stage.observed(lambda s: s.verdict == ALLOWED)
        assert sum(seen.count for seen in stage.everything) == 3, "several lines tell of each handshake"


async def test_audited(tmp_path: Path) -> None:
    async with scene(Mode.AUDIT, tmp_path) as stage:
        evil = stage.envoy.client_context(EVIL)
        assert b"200 OK" in await call(HTTP_PORT, request(), evil)
        seen = await stage.observed(lambda s: s.port == HTTP_PORT)
        assert (seen.verdict, seen.deny_id, seen.path) == (WOULD_DENY, DENY, "/x/1")

        assert await call(TCP_PORT, b"PING", evil) == b"PING"
        seen = await stage.observed(lambda s: s.port == TCP_PORT)
        assert (seen.verdict, seen.deny_id, seen.peer_id) == (WOULD_DENY, DENY, EVIL.uri(TRUST_DOMAIN))

        assert b"200 OK" in await call(HTTP_PORT, request(path="/plain"), None)
        seen = await stage.observed(lambda s: s.path == "/plain")
        assert (seen.verdict, seen.peer_id, seen.peer_address) == (WOULD_DENY, "", "127.0.0.1")


async def test_a_scan_and_a_peer_that_distrusts_the_server_report_nothing(tmp_path: Path) -> None:
    async with scene(Mode.ENFORCE, tmp_path) as stage:
        _, writer = await asyncio.open_connection(SIDECAR, TCP_PORT)
        writer.close()
        distrusting = anybody(tmp_path)
        distrusting.verify_mode = ssl.CERT_REQUIRED
        assert await call(TCP_PORT, b"PING", distrusting) == b""
        assert await call(TCP_PORT, b"PING", stage.envoy.client_context(WEB)) == b"PING"
        await stage.observed(lambda s: s.verdict == ALLOWED)
        assert [seen.verdict for seen in stage.everything] == [ALLOWED]


async def test_a_real_envoy_opens_its_log_anew(tmp_path: Path) -> None:
    async with scene(Mode.LEARN, tmp_path, cut_bytes=20_000) as stage:
        reader, writer = await asyncio.open_connection(SIDECAR, HTTP_PORT, ssl=stage.envoy.client_context(WEB))
        for number in range(300):
            writer.write(request())
            await reader.readuntil(b"\r\n\r\n")
            if number % 20 == 0:
                await asyncio.sleep(0.1)
        writer.close()
        await stage.observed(lambda _: sum(seen.count for seen in stage.everything) == 300)
        assert stage.reopened >= 2
