"""TLS before a listener of this machine: ends the encryption and hands on the bytes. Never looks at what they say.

The WSGI server speaks no TLS. The certificate is the mesh authority's, made in memory and made anew at half its lifetime, or one
that somebody else keeps in files and that is read anew when it changes; connections that stand are not touched.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from controlplane.identity.authority import ServerIdentity
from controlplane.settings import Listen

CERTIFICATE_LIFETIME = timedelta(days=1)
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
#: Who says nothing for so long after the handshake goes, and makes room.
SILENT_SECONDS = 10.0
#: Who takes nothing of what is sent for so long goes, too.
STUCK_SECONDS = 60.0
#: What a server that has stopped has answered still goes out.
LAST_SECONDS = 1.0
MAX_CONNECTIONS = 256
#: Each holds some hundred KiB, too: more than these are refused.
MAX_WAITING = 512
_CHUNK_BYTES = 64 * 1024
_log = structlog.get_logger("picket.tls")


class FrontError(OSError):
    """The address cannot be had; the message says why and what to do."""


class ServingCertificate:
    """What a front shows to whoever connects."""

    def __init__(self, authority: ServerIdentity, names: Sequence[str], clock: Callable[[], datetime]) -> None:
        self._authority = authority
        self._names = tuple(names)
        self._clock = clock
        self.context = _server_context()
        self._made_at, self._made_by = clock(), authority.version
        self._make()

    def renew(self) -> bool:
        """Make a new one where half of its life is over, the clock was set, or the authority says so. Says whether it did."""
        if abs(self._clock() - self._made_at) < CERTIFICATE_LIFETIME / 2 and self._authority.version == self._made_by:
            return False
        self._make()
        return True

    def _make(self) -> None:
        self._made_at, self._made_by = self._clock(), self._authority.version
        key, chain = self._authority.issue_server(self._names, CERTIFICATE_LIFETIME, self._made_at)
        _show(self.context, chain, key)


class MountedCertificate:
    """One that somebody else keeps in a directory, as kubelet does a Secret of the type kubernetes.io/tls."""

    def __init__(self, directory: Path) -> None:
        """Read it.

        Raises:
            FrontError: it is not there, or certificate and key are none or not of each other.
        """
        self._directory = directory
        self.context = _server_context()
        self._shown: tuple[bytes, bytes] | None = None
        self._refused: tuple[bytes, bytes] | None = None
        try:
            self._take(self._read())
        except (OSError, ValueError) as error:
            raise FrontError(f"--webhook-certificate: {directory}: {error}") from error

    def renew(self) -> bool:
        """Take what is there by now, where that is another. Says whether it did; what cannot be used is told, and not taken."""
        try:
            found = self._read()
        except OSError as error:
            _log.warning("webhook certificate not read", directory=str(self._directory), error=str(error))
            return False
        if found in {self._shown, self._refused}:
            return False
        try:
            self._take(found)
        except (OSError, ValueError) as error:
            self._refused = found  # told once: between its two files being written anew they do not go together
            _log.warning("webhook certificate not taken", directory=str(self._directory), error=str(error))
            return False
        _log.info("webhook certificate renewed", directory=str(self._directory))
        return True

    def _read(self) -> tuple[bytes, bytes]:
        """Chain and key.

        Raises:
            OSError: one of them is not there.
        """
        chain, key = ((self._directory / name).read_bytes() for name in ("tls.crt", "tls.key"))
        return chain, key

    def _take(self, found: tuple[bytes, bytes]) -> None:
        # A context that refuses a key has the new certificate by then, and no key: another one tries it first.
        _show(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *found)
        _show(self.context, *found)
        self._shown = found


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _show(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Have a context show a certificate.

    Raises:
        ssl.SSLError: certificate and key are none, or not of each other.
    """
    # The library reads a file; this one has no name, and nobody else can open it.
    file = os.memfd_create("picket-serving", os.MFD_CLOEXEC)
    try:
        os.write(file, chain + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    finally:
        os.close(file)


def _no_password() -> bytes:
    """An encrypted key would be asked about on the terminal."""
    return b""


class TlsFront:
    """One TLS listener before one plain one: at most `MAX_CONNECTIONS` at once, and `MAX_WAITING` that wait for room."""

    def __init__(
        self, certificate: ServingCertificate | MountedCertificate, listen: Listen, behind: tuple[str, int], option: str, *,
        max_connections: int = MAX_CONNECTIONS, max_waiting: int = MAX_WAITING, silent_seconds: float = SILENT_SECONDS,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:  # fmt: skip
        """``behind`` is host and port of the plain listener; ``option`` is what errors call the address."""
        self._certificate = certificate
        self._listen = listen
        self._behind = behind
        self._option = option
        self._room = asyncio.Semaphore(max_connections)
        self._most = max_connections + max_waiting
        self._silent_seconds = silent_seconds
        self._stuck_seconds = stuck_seconds
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Take the address, and say which it is: ``https://host:port``.

        Raises:
            FrontError: it cannot be had.
        """
        host, port = self._listen.host, self._listen.port
        try:
            self._server = await asyncio.start_server(
                self._accepted, host, port, ssl=self._certificate.context, ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=CLOSE_SECONDS, limit=_CHUNK_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise FrontError(f"https://{self._listen.target}: {error.strerror}; choose another with {self._option}") from error
        bound, number = self._server.sockets[0].getsockname()[:2]
        return f"https://[{bound}]:{number}" if ":" in bound else f"https://{bound}:{number}"

    async def stop(self) -> None:
        """Take no more connections, and end those that are there. Whoever stopped what is behind has let it finish."""
        if self._server is None:
            return
        self._server.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=LAST_SECONDS)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= self._most:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            async with self._room:
                await self._hand_on(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # one of both is gone or silent, or we are to be gone
        finally:
            self._connections.discard(task)
            # Where it is closed already, Python 3.11.2 raises: https://github.com/elastic/rally/issues/1714
            with suppress(AttributeError):
                writer.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._silent_seconds):
            first = await reader.read(_CHUNK_BYTES)
        if not first:
            return
        inner_reader, inner_writer = await asyncio.open_connection(*self._behind, limit=_CHUNK_BYTES)
        inner_writer.write(first)
        ways = [
            asyncio.create_task(_copy(reader, inner_writer)),
            asyncio.create_task(_copy(inner_reader, writer, self._stuck_seconds)),
        ]
        try:
            # Whoever ends first ends both: the server closes what is idle, and an answered client that has gone needs none.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            writer.close()
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await writer.wait_closed()
        finally:
            inner_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stuck_seconds: float | None = None) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        async with asyncio.timeout(stuck_seconds):
            await writer.drain()
