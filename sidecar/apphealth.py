"""Performs the probes and HTTP hooks of a pod's containers in the kubelet's place: toward the pod's own address, nowhere else.

The kubelet comes without an identity, and would be refused where a service is enforced. What it asks the agent for is looked
up among the declared ones; nothing of its request goes further. The agent's connections are marked as Envoy's way to the
application, so that the redirect lets them pass.

Kubelet takes any answer to a hook for success, whatever its status, and a broken connection for failure: so it gets none where
the application gave none. https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec

from sidecar.appprobes import HOOK_PREFIX, Grpc, HttpGet, Probe
from sidecar.capture import INWARD_SOURCE
from sidecar.pages import NO_ANSWER, NOT_FOUND, Page
from sidecar.race import first

#: So many at once; the kubelet asks for one after the other.
MAX_RUNNING = 16
MAX_HEAD_BYTES = 16 * 1024
_COPY_BYTES = 4096
#: As the kubelet names itself, for applications that keep such requests out of their logs.
_USER_AGENT, _HOOK_AGENT = "kube-probe/picket", "kube-lifecycle/picket"
#: What OpenSSL calls it when a server answers TLS in plain text.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
#: HealthCheckResponse.status = SERVING, as protobuf writes it. https://github.com/grpc/grpc/blob/master/doc/health-checking.md
_SERVING = b"\x08\x01"
_log = logging.getLogger("picket.hooks")


class AppHealth:
    """Answers for the declared probes and hooks."""

    def __init__(self, probes: Mapping[str, Probe], addresses: Sequence[str], directory: Path) -> None:
        """``addresses`` are the pod's own, tried in this order; ``directory`` may hold a socket for a moment."""
        self._probes = probes
        self._addresses = addresses
        self._directory = directory
        self._running = asyncio.Semaphore(MAX_RUNNING)
        self.hooks_running = 0
        self._number = 0

    async def answer(self, path: str) -> Page:
        """The status of an HTTP probe or hook as the application gave it; of others 200 or 503. Of a failed hook nothing."""
        probe = self._probes.get(path)
        if path.startswith(HOOK_PREFIX):
            return NO_ANSWER if probe is None or probe.http_get is None else await self._hook(path, probe.http_get, probe)
        if probe is None:
            return NOT_FOUND
        if self._running.locked():
            return Page(503, b"too many probes at once\n")
        async with self._running:
            try:
                async with asyncio.timeout(probe.timeout_seconds):
                    return await self._perform(probe)
            except TimeoutError:
                return Page(503, f"no answer within {probe.timeout_seconds} s\n".encode())
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                return Page(503, f"{type(error).__name__}: {error}\n".encode())
            except grpc.aio.AioRpcError as error:
                return Page(503, f"{error.code().name}\n".encode())

    async def _hook(self, path: str, asked: HttpGet, probe: Probe) -> Page:
        """Kubelet asks once, and waits."""
        if self.hooks_running >= MAX_RUNNING:
            return NO_ANSWER
        container, which, _ = path.removeprefix(HOOK_PREFIX).split("/")
        self.hooks_running += 1
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                return await self._called(asked)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.warning("hook failed container=%s hook=%s reason=%r", container, which, f"{type(error).__name__}: {error}")
            return NO_ANSWER
        finally:
            self.hooks_running -= 1

    async def _called(self, asked: HttpGet) -> Page:
        """As the kubelet does it: where HTTPS is asked for and the server speaks none, by HTTP and without credentials."""
        try:
            return await self._http(asked, _HOOK_AGENT)
        except OSError as error:
            if asked.scheme != "HTTPS" or getattr(error, "reason", "") not in _NOT_TLS:
                raise
        headers = tuple(header for header in asked.http_headers if header.name.lower() != "authorization")
        return await self._http(msgspec.structs.replace(asked, scheme="HTTP", http_headers=headers), _HOOK_AGENT)

    async def _perform(self, probe: Probe) -> Page:
        if probe.http_get is not None:
            return await self._http(probe.http_get)
        if probe.grpc is not None:
            return await self._grpc(probe.grpc)
        assert probe.tcp_socket is not None
        _, writer, _ = await self._connected(probe.tcp_socket.port)
        writer.close()
        return Page(200, b"connected\n")

    async def _http(self, asked: HttpGet, agent: str = _USER_AGENT) -> Page:
        reader, writer, address = await self._connected(asked.port, tls=asked.scheme == "HTTPS")
        try:
            writer.write(_request(asked, address, agent))
            await writer.drain()
            words = (await reader.readuntil(b"\n")).split(None, 2)
        finally:
            writer.close()
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or not 100 <= int(words[1]) <= 599:
            raise ValueError("the application did not answer in HTTP/1")
        # A redirect is not followed: it counts as healthy, as the kubelet has it for one that leads elsewhere.
        return Page(int(words[1]), f"the application answered {int(words[1])}\n".encode())

    async def _grpc(self, asked: Grpc) -> Page:
        service = (asked.service or "").encode()
        request = b"" if not service else b"\x0a" + _varint(len(service)) + service
        async with self._forwarded(asked.port) as (path, address):
            options = [("grpc.default_authority", f"{_bracketed(address)}:{asked.port}"), ("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
                check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
                answer = await check(request)
        return Page(200, b"SERVING\n") if answer == _SERVING else Page(503, b"not SERVING\n")

    @asynccontextmanager
    async def _forwarded(self, port: int) -> AsyncIterator[tuple[Path, str]]:
        """A socket that leads to the application: gRPC cannot choose where its connections come from."""
        self._number += 1
        path = self._directory / f"probe{self._number}.sock"
        inner, inner_writer, address = await self._connected(port)
        tasks: list[asyncio.Task[None]] = []

        async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            try:
                await first(_copy(reader, inner_writer), _copy(inner, writer))
            finally:
                writer.close()

        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(joined, str(path))
        try:
            yield path, address
        finally:
            server.close()
            path.unlink(missing_ok=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            inner_writer.close()

    async def _connected(self, port: int, *, tls: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """A connection to the application, at the first of the pod's addresses that takes one."""
        refused: OSError = ConnectionRefusedError("the pod has no address")
        for address in self._addresses:
            source = "::1" if ":" in address else INWARD_SOURCE
            try:
                reader, writer = await asyncio.open_connection(
                    address, port, local_addr=(source, 0), limit=MAX_HEAD_BYTES, ssl=_unverified() if tls else None
                )
                return reader, writer, address
            except OSError as error:
                refused = error
        raise refused


def _request(asked: HttpGet, address: str, agent: str) -> bytes:
    given = {header.name.lower() for header in asked.http_headers}
    defaults = {"Host": f"{_bracketed(address)}:{asked.port}", "User-Agent": agent, "Accept": "*/*", "Connection": "close"}
    headers = [(header.name, header.value) for header in asked.http_headers]
    headers += [(name, value) for name, value in defaults.items() if name.lower() not in given]
    lines = [f"GET /{asked.path.removeprefix('/')} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(_COPY_BYTES):
        writer.write(part)
        await writer.drain()


def _unverified() -> Any:
    """TLS that takes any certificate, as the kubelet's does: an application's is seldom made for its pod's address."""
    import ssl  # noqa: PLC0415  # a tenth of the agent's memory, for pods that have such a probe

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
