"""The control plane over HTTPS: what an API server asks, what kubelet and a browser look at, and whom it lets wait."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from structlog.testing import capture_logs

from controlplane import fronts as fronts_module
from controlplane.api.listen import ApiServer
from controlplane.fronts import Fronts
from controlplane.identity.authority import CertificateAuthority, load_or_create
from controlplane.identity.generations import Generations, activate, first_generation, prepare
from controlplane.identity.mesh import MeshAuthority
from controlplane.kubernetes.injection.review import MAX_REVIEW_BYTES
from controlplane.kubernetes.injection.rules import RulesError
from controlplane.settings import Listen, Settings, SettingsError, build_settings
from controlplane.tlsfront import CERTIFICATE_LIFETIME, FrontError, MountedCertificate, ServingCertificate, TlsFront

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


def mount(directory: Path, authority: CertificateAuthority, *names: str) -> bytes:
    """A Secret as kubelet mounts it, written anew at once: files that lead through a link. Gives the certificate."""
    key, chain = authority.issue_server(names, timedelta(hours=1), datetime.now(UTC))
    directory.mkdir(exist_ok=True)
    version = directory / f"..{secrets.token_hex(4)}"
    version.mkdir()
    (version / "tls.crt").write_bytes(chain)
    (version / "tls.key").write_bytes(key)
    (directory / "..new").symlink_to(version.name)
    (directory / "..new").rename(directory / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    return chain


def seen_of(context: ssl.SSLContext) -> bytes | None:
    """What a client sees of who serves with a context."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.getpeercert(binary_form=True)


async def test_a_mounted_certificate_is_shown_to_the_api_server_and_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an authority that is not the mesh's; without a restart. The console keeps the mesh's."""
    monkeypatch.setattr(fronts_module, "RENEW_LOOK_SECONDS", 0.01)
    mesh, others = load_or_create(tmp_path / "ca", "picket.local"), load_or_create(tmp_path / "others", "other.local")
    mount(tmp_path / "mounted", others, "127.0.0.1")
    behind = ApiServer(says_hello, Listen(host="127.0.0.1", port=0))
    fronts = Fronts(replace(settings(tmp_path), webhook_certificate=tmp_path / "mounted"), mesh)
    renewing = asyncio.create_task(fronts.run())
    try:
        serving = Serving(mesh, await fronts.start([behind]))
        assert (await serving.ask(f"{serving.api}/x"))[0] == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            await serving.ask(f"{serving.webhook}/inject", REVIEW, JSON)
        serving.trust = ssl.create_default_context(cadata=others.bundle_pem.decode())
        assert (await serving.ask(f"{serving.webhook}/inject", REVIEW, JSON))[0] == 200
        third = load_or_create(tmp_path / "third", "third.local")
        mount(tmp_path / "mounted", third, "127.0.0.1")
        serving.trust = ssl.create_default_context(cadata=third.bundle_pem.decode())
        async with asyncio.timeout(20):
            while True:
                with suppress(urllib.error.URLError):
                    assert (await serving.ask(f"{serving.webhook}/inject", REVIEW, JSON))[0] == 200
                    break
    finally:
        renewing.cancel()
        behind.close()
        await fronts.stop()


def test_a_mounted_certificate_that_cannot_be_used_leaves_the_one_before(tmp_path: Path) -> None:
    """Half written, of another key, gone: it is told once, and tried again when it changes."""
    authority = load_or_create(tmp_path / "ca", "picket.local")
    mounted = tmp_path / "mounted"
    mount(mounted, authority, "picket")
    certificate = MountedCertificate(mounted)
    assert not certificate.renew()
    _, chain = authority.issue_server(("picket",), timedelta(hours=1), datetime.now(UTC))
    good = (mounted / "tls.crt").read_bytes()
    with capture_logs() as logs:
        for wrong in (chain, b"", b"-----BEGIN CERTIFICATE-----\n", good[: len(good) // 2]):
            (mounted / "tls.crt").write_bytes(wrong)
            assert not certificate.renew()
            assert not certificate.renew()
        (mounted / "tls.key").unlink()
        assert not certificate.renew()
    assert [line["event"] for line in logs] == ["webhook certificate not taken"] * 4 + ["webhook certificate not read"]
    assert seen_of(certificate.context) == ssl.PEM_cert_to_DER_cert(good.decode().partition("-----END")[0] + ssl.PEM_FOOTER)
    (mounted / "tls.key").symlink_to("..data/tls.key")
    (mounted / "tls.crt").unlink()
    (mounted / "tls.crt").symlink_to("..data/tls.crt")
    mount(mounted, authority, "picket")
    assert certificate.renew()


def test_a_certificate_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match=r"--webhook-certificate: .*No such file"):
        MountedCertificate(tmp_path / "nothing")


@pytest.mark.parametrize("more", [{}, {"webhook_listen": "127.0.0.1:0", "injection": "x", "webhook_configuration": "w"}])
def test_a_webhooks_own_certificate_goes_without_keeping_the_trust_in_it(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="--webhook-certificate: goes with"):
        build_settings(data=tmp_path, kubernetes=True, webhook_certificate=tmp_path, **more)


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
