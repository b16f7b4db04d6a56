"""The API's listener: waitress on a TCP port or a Unix socket, with the peer's user where the kernel tells it, and a clean stop."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import structlog
from waitress.channel import HTTPChannel
from waitress.server import UnixWSGIServer, create_server
from waitress.task import WSGITask

from controlplane.api.access import PEER_USER
from controlplane.api.reading import MAX_LARGE_BODY_BYTES
from controlplane.settings import Listen

#: Browsers that follow something live hold up to twice `web.tails.MAX_OPEN` of them.
THREADS = 16
STOP_SECONDS = 5.0
#: What is tried again where there is no descriptor, and how often that is told.
ACCEPT_RETRY_SECONDS, COMPLAIN_SECONDS = 0.1, 10.0
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UCRED = struct.Struct("3i")
_log = structlog.get_logger("picket.api")


class ListenError(OSError):
    """The address cannot be had; the message says why and what to do."""


def peer_user(connection: socket.socket) -> str:
    """The user behind a Unix socket's peer: its name, or ``uid N`` where it has none (unix(7), SO_PEERCRED)."""
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return user_name(uid)


def keepers() -> frozenset[str]:
    """Who can read the control plane's own token, and use its Unix socket: root, and the user that this process runs as."""
    return frozenset({user_name(0), user_name(os.geteuid())})


def user_name(uid: int) -> str:
    """What `peer_user` calls a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class _PeerTask(WSGITask):  # type: ignore[misc]  # waitress has no types
    """A request over a Unix socket, with its user."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[PEER_USER] = peer_user(self.channel.socket)
        return environ


class _PeerChannel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection over a Unix socket."""

    task_class = _PeerTask


class _Accepting:
    """Takes connections as waitress does; where the process has no descriptor left for one, it waits before the next try.

    The connection stays in line meanwhile: tried again at once, it would take a core, and fill the log with each try.
    """

    def __init__(self, accept: Callable[[], Any]) -> None:
        self._accept = accept
        self._said_at = float("-inf")

    def __call__(self) -> Any:
        try:
            return self._accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
            if time.monotonic() - self._said_at > COMPLAIN_SECONDS:
                self._said_at = time.monotonic()
                _log.error("API takes no connections; raise the limit of open files (ulimit -n)", error=error.strerror)
            time.sleep(ACCEPT_RETRY_SECONDS)
            return None


class ApiServer:
    """Serves an application in its own threads until closed."""

    def __init__(self, app: WSGIApplication, listen: Listen) -> None:
        """Take the address.

        Raises:
            ListenError: it cannot be had.
        """
        self._path = Path(listen.path) if listen.path else None
        self._socket = _unix_socket(self._path) if self._path else _tcp_socket(listen)
        #: Where it really listens: ``unix:/path`` or ``http://host:port``.
        self.address = f"unix:{self._path}" if self._path else _http_address(self._socket)
        self._server = create_server(
            app,
            sockets=[self._socket],
            threads=THREADS,
            ident="picket",
            max_request_header_size=32 * 1024,
            # The application refuses larger bodies with a problem document; this only bounds what is read before.
            max_request_body_size=2 * MAX_LARGE_BODY_BYTES,
            channel_timeout=60,
        )
        if isinstance(self._server, UnixWSGIServer):
            self._server.channel_class = _PeerChannel
        self._server.accept = _Accepting(self._server.accept)
        self._stopping = threading.Event()
        self._waking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="picket-api", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, and finish those that run."""
        with self._waking:
            if not self._stopping.is_set():
                self._stopping.set()
                self._server.pull_trigger()
        self._thread.join(STOP_SECONDS + 1)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        # waitress stops by an exception out of its loop; turning the loop here lets it stop between two turns.
        server = self._server
        connections = server._map  # noqa: SLF001  # the loop's own argument, which waitress does not give out otherwise
        while not self._stopping.is_set():
            server.asyncore.loop(timeout=30, map=connections, use_poll=True, count=1)
        with self._waking:
            pass  # whoever stops us is done with the trigger: its file descriptor is about to be closed, and may become another's
        server.accepting = False
        self._socket.close()
        connections.pop(server._fileno, None)  # noqa: SLF001
        server.task_dispatcher.shutdown(timeout=STOP_SECONDS)
        server.asyncore.loop(timeout=0, map=connections, use_poll=True, count=1)
        server.asyncore.close_all(connections)


def _http_address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tcp_socket(listen: Listen) -> socket.socket:
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"http://{listen.target}: {error.strerror}; choose another with --api-listen") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        raise ListenError(f"http://{listen.target}: {error.strerror}; choose another with --api-listen") from error
    return made


def _unix_socket(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        # On Linux the file takes the mode that its socket had before bind: nobody else can connect, not even for a moment.
        os.fchmod(made.fileno(), 0o600)
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(128)
    except OSError as error:
        made.close()
        raise ListenError(f"{path}: {error.strerror}; choose another with --api-listen") from error
    return made
