"""Servers that say who they are and whom the client had dialled, and clients that say what they met, for tests of the redirect."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.harness.namespaces import Namespace

APPLICATION = 65534


@dataclass
class Greeters:
    """Servers that greet each connection with a name, and with whom the client had dialled."""

    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, space: Namespace, port: int, name: str, address: str = "::") -> None:
        self._selector.register(space.run(lambda: _listener(address, port)), selectors.EVENT_READ, name)

    def run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.05):
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                connection, _peer = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(f"{key.data} {_dialled(connection)}".encode())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()
            for key in list(self._selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
            self._selector.close()


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((address, port))
    listener.listen(64)
    return listener


def _dialled(connection: socket.socket) -> str:
    """SO_ORIGINAL_DST, as Envoy reads it."""
    mapped = str(connection.getsockname()[0]).startswith("::ffff:")
    with contextlib.suppress(OSError):
        if mapped:
            port, packed = struct.unpack("!2xH4s8x", connection.getsockopt(socket.IPPROTO_IP, 80, 16))
            return f"{socket.inet_ntop(socket.AF_INET, packed)}:{port}"
        port, packed = struct.unpack("!2xH4x16s4x", connection.getsockopt(socket.IPPROTO_IPV6, 80, 28))
        return f"{socket.inet_ntop(socket.AF_INET6, packed)}:{port}"
    return "-"


def dial(
    space: Namespace, address: str, port: int, *, uid: int = APPLICATION, gid: int = APPLICATION, source: str | None = None
) -> str:
    """What a connection meets: a greeting, ``refused``, or ``silence``."""

    def connect() -> str:
        try:
            with socket.create_connection((address, port), 1, (source, 0) if source else None) as connection:
                return connection.recv(100).decode()
        except ConnectionError:
            return "refused"
        except TimeoutError:
            return "silence"

    return space.run(connect, uid=uid, gid=gid)


@dataclass(frozen=True)
class Wire:
    """The sidecar's namespace, with the rules and somebody in Envoy's place, and a peer's."""

    here: Namespace
    there: Namespace
    greeters: Greeters
