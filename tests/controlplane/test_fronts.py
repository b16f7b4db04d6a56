"""The control plane over HTTPS: what an API server asks, what kubelet and a browser look at, and whom it lets wait."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from controlplane.api.listen import ApiServer
from controlplane.fronts import Fronts
from controlplane.identity.authority import CertificateAuthority, load_or_create
from controlplane.identity.generations import Generations, activate, first_generation, prepare
from controlplane.identity.mesh import MeshAuthority
from controlplane.kubernetes.injection.review import MAX_REVIEW_BYTES
from controlplane.kubernetes.injection.rules import RulesError
from controlplane.settings import Listen, Settings, SettingsError, build_settings
from controlplane.tlsfront import CERTIFICATE_LIFETIME, FrontError, ServingCertificate, TlsFront

REVIEW = (Path(__file__).parents[1] / "data" / "admission" / "deployment-http.json").read_bytes()
JSON = {"Content-Type": "application/json"}


def settings(directory: Path, webhook_listen: str = "127.0.0.1:0") -> Settings:
    """A control plane's with both listeners."""
    file = directory / "injection.yaml"
    if not file.exists():
        file.write_text("{image: picket, ownNamespace: picket-system}")
    return build_settings(
        data=directory, topology=directory / "none", server_name=["127.0.0.1"], api_tls_listen="127.0.0.1:0",
        webhook_listen=webhook_listen, injection=file,
    )  # fmt: skip


def says_hello(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Stands for API and console."""
    body = environ["PATH_INFO"].encode() * 100_000
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Serving:
    """Both listeners, and what a client of theirs needs."""

    def __init__(self, authority: CertificateAuthority, listening: list[str]) -> None:
        self.api, self.webhook = (line.partition(" ")[2] for line in listening)
        self.trust = ssl.create_default_context(cadata=authority.bundle_pem.decode())

    async def ask(self, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """A request's status and body."""

        def asked() -> tuple[int, bytes]:
            request = urllib.request.Request(url, data=body, headers=headers or {})
            try:
                with urllib.request.urlopen(request, timeout=20, context=self.trust) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        return await asyncio.to_thread(asked)


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    """Started, and stopped after the test."""
    authority = load_or_create(tmp_path / "ca", "picket.local")
    behind = ApiServer(says_hello, Listen(host="127.0.0.1", port=0))
    fronts = Fronts(settings(tmp_path), authority)
    try:
        yield Serving(authority, await fronts.start([behind]))
    finally:
        await fronts.stop()
        await asyncio.to_thread(behind.close)


async def test_a_review_is_answered_with_a_patch(serving: Serving) -> None:
    """As an API server sends it, trusting the mesh's authority alone."""
    status, body = await serving.ask(f"{serving.webhook}/inject?timeout=10s", REVIEW, JSON)
    response = json.loads(body)["response"]
    assert (status, response["allowed"], response["patchType"]) == (200, True, "JSONPatch")
    assert any(change["path"] == "/spec/initContainers" for change in json.loads(base64.b64decode(response["patch"])))


async def test_a_refusal_is_an_answer(serving: Serving) -> None:
    """With the reason, so that kubectl shows it."""
    asked = json.loads(REVIEW)
    asked["request"]["object"]["spec"]["securityContext"] = {"runAsUser": 1337}
    status, body = await serving.ask(f"{serving.webhook}/inject", json.dumps(asked).encode(), JSON)
    response = json.loads(body)["response"]
    assert (status, response["allowed"]) == (200, False)
    assert "1337" in response["status"]["message"]


async def test_what_is_no_review_is_refused(serving: Serving) -> None:
    """The API server then does not let the pod be."""
    assert (await serving.ask(f"{serving.webhook}/", REVIEW, JSON))[0] == 404
    assert (await serving.ask(f"{serving.webhook}/inject"))[0] == 400
    assert (await serving.ask(f"{serving.webhook}/inject", REVIEW, {"Content-Type": "text/plain"}))[0] == 400
    assert (await serving.ask(f"{serving.webhook}/inject", b"{}", JSON))[0] == 400
    assert (await serving.ask(f"{serving.webhook}/inject", b" " * (MAX_REVIEW_BYTES + 1), JSON))[0] == 413


async def test_the_api_is_there_over_tls(serving: Serving) -> None:
    """Also answers that are longer than any buffer between."""
    assert await serving.ask(f"{serving.api}/healthz") == (200, b"/healthz" * 100_000)


async def test_whoever_says_nothing_keeps_nobody_out(serving: Serving) -> None:
    """Connections without a handshake, and without a request."""
    host, _, port = serving.webhook.removeprefix("https://").partition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    quiet = ssl.create_default_context(cadata=None)
    quiet.check_hostname, quiet.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, int(port), ssl=quiet)
    try:
        assert (await serving.ask(f"{serving.webhook}/inject", REVIEW, JSON))[0] == 200
    finally:
        for connection in silent:
            connection.close()
        writer.transport.abort()


@asynccontextmanager
async def fronted(
    directory: Path, app: WSGIApplication = says_hello, **limits: Any
) -> AsyncIterator[tuple[Serving, TlsFront, ApiServer]]:
    """An application behind a front of its own, with other limits."""
    authority = load_or_create(directory / "ca", "picket.local")
    certificate = ServingCertificate(authority, ["127.0.0.1"], lambda: datetime.now(UTC))
    behind = ApiServer(app, Listen(host="127.0.0.1", port=0))
    port = int(behind.address.rpartition(":")[2])
    front = TlsFront(certificate, Listen(host="127.0.0.1", port=0), ("127.0.0.1", port), "--x", **limits)
    address = await front.start()
    try:
        yield Serving(authority, [f"API {address}", f"webhook {address}"]), front, behind
    finally:
        await front.stop()
        await asyncio.to_thread(behind.close)


async def test_silent_connections_make_room(tmp_path: Path) -> None:
    """Also when they have taken all of it."""
    async with fronted(tmp_path, max_connections=2, silent_seconds=0.2) as (serving, _, _):
        host, _, port = serving.api.removeprefix("https://").partition(":")
        connections = [await asyncio.open_connection(host, int(port), ssl=serving.trust) for _ in range(4)]
        assert (await serving.ask(f"{serving.api}/x"))[0] == 200
        for _, writer in connections:
            writer.transport.abort()


async def test_whoever_takes_nothing_of_its_answer_makes_room(tmp_path: Path) -> None:
    """A connection that nobody reads from is no place taken for ever."""
    async with fronted(tmp_path, max_connections=1, stuck_seconds=0.2) as (serving, _, _):
        host, _, port = serving.api.removeprefix("https://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            stuck = await asyncio.to_thread(serving.trust.wrap_socket, connection, server_hostname=host)
            with stuck:
                stuck.sendall(f"GET /{'x' * 300} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await serving.ask(f"{serving.api}/next"))[0] == 200


async def test_no_more_wait_than_there_is_memory_for(tmp_path: Path) -> None:
    """Who comes when as many wait as may is refused at once."""
    async with fronted(tmp_path, max_connections=1, max_waiting=1, silent_seconds=60) as (serving, _, _):
        host, _, port = serving.api.removeprefix("https://").partition(":")
        held = [await asyncio.open_connection(host, int(port), ssl=serving.trust) for _ in range(2)]
        reader, refused = await asyncio.open_connection(host, int(port), ssl=serving.trust)
        with suppress(OSError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        for _, writer in (*held, (reader, refused)):
            writer.transport.abort()


async def test_what_is_under_way_at_the_stop_is_answered(tmp_path: Path) -> None:
    """What is behind finishes it, and the front passes on the whole answer before it ends."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        asked.set()
        go_on.wait(20)
        return says_hello(environ, start)

    async with fronted(tmp_path, slow) as (serving, front, behind):
        answer = asyncio.create_task(serving.ask(f"{serving.api}/x"))
        assert await asyncio.to_thread(asked.wait, 20)
        go_on.set()
        behind.close()  # it answers while the loop, and so the front, has no turn
        await front.stop()
        assert await answer == (200, b"/x" * 100_000)


def test_the_certificate_is_made_anew_at_half_its_life(tmp_path: Path) -> None:
    """And not sooner; also when the clock was set back."""
    now = [datetime.now(UTC)]
    certificate = ServingCertificate(load_or_create(tmp_path / "ca", "picket.local"), ["picket"], lambda: now[0])
    assert not certificate.renew()
    now[0] += CERTIFICATE_LIFETIME / 2
    assert certificate.renew()
    assert not certificate.renew()
    now[0] -= timedelta(days=2)
    assert certificate.renew()


def test_the_certificate_is_made_anew_when_another_authority_signs(tmp_path: Path) -> None:
    """So that who does not trust the old root any more goes on."""
    now = datetime.now(UTC)
    authority = MeshAuthority(first_generation(load_or_create(tmp_path / "ca", "picket.local")))
    certificate = ServingCertificate(authority, ["picket"], lambda: now)
    prepared = prepare(authority.generations, now, timedelta(days=365))
    assert isinstance(prepared, Generations)
    active = activate(prepared, now)
    assert isinstance(active, Generations)
    for generations in (prepared, active):
        assert not certificate.renew()
        authority.replace(generations)
        assert certificate.renew()


async def test_a_renewed_certificate_is_what_the_next_connection_sees(tmp_path: Path) -> None:
    """Without a restart, and the one before goes on."""
    now = [datetime.now(UTC)]
    certificate = ServingCertificate(load_or_create(tmp_path / "ca", "picket.local"), ["picket"], lambda: now[0])

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificate.context)
    seen = []
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    async with server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], ssl=trust)
            await reader.readexactly(1)
            seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.transport.abort()
            now[0] += CERTIFICATE_LIFETIME
            certificate.renew()
    assert seen[0] != seen[1]


async def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    """By the option that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        authority = load_or_create(tmp_path / "ca", "picket.local")
        fronts = Fronts(settings(tmp_path, webhook_listen=f"127.0.0.1:{port}"), authority)
        behind = ApiServer(says_hello, Listen(host="127.0.0.1", port=0))
        try:
            with pytest.raises(FrontError, match="--webhook-listen"):
                await fronts.start([behind])
        finally:
            await fronts.stop()
            await asyncio.to_thread(behind.close)


def test_settings_that_do_not_go_together_are_told(tmp_path: Path) -> None:
    """At the start, with what to do."""
    with pytest.raises(SettingsError, match="go together"):
        build_settings(data=tmp_path, topology=tmp_path, webhook_listen="127.0.0.1:0")
    with pytest.raises(SettingsError, match="host:port is wanted"):
        build_settings(data=tmp_path, topology=tmp_path, api_tls_listen="unix:/x")
    with pytest.raises(SettingsError, match="add one on loopback"):
        build_settings(data=tmp_path, topology=tmp_path, api_tls_listen="127.0.0.1:0", api_listen=["unix:/x"])
    (tmp_path / "injection.yaml").write_text("{image: 'a b', ownNamespace: p}")
    with pytest.raises(RulesError, match=r"injection\.yaml"):
        Fronts(settings(tmp_path), load_or_create(tmp_path / "ca", "picket.local"))
