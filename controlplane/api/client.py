"""A client of the API on the standard library: Unix sockets, HTTP on this machine, HTTPS elsewhere. Knows no route.

A token is never sent over plain HTTP to another machine.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

TIMEOUT_SECONDS = 30.0
#: Before a write that was cut off is sent again, under the same key.
RETRY_PAUSES_SECONDS = (0.2, 1.0)
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ADDRESS = "write unix:/path, http://localhost:port or https://host:port"


class ServerAddressError(ValueError):
    """A text that is no server's address; the message says what is wanted."""


class UnreachableError(Exception):
    """Nobody answers there; the message says where it looked and why not."""


class CutOffError(UnreachableError):
    """It was reached, and the connection ended before its answer: nobody knows whether anything was done."""


class ApiError(Exception):
    """The control plane refused; ``detail`` is what, ``where`` which part of the call, ``remedy`` what to do."""

    def __init__(self, status: int, detail: str, where: str = "", remedy: str = "") -> None:
        super().__init__(f"{detail}; {remedy}" if remedy else detail)
        self.status = status
        self.detail = detail
        self.where = where
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Server:
    scheme: str
    host: str
    port: int | None
    path: str = ""


class Client:
    """Calls one control plane, one connection per call."""

    def __init__(self, server: str, token: str | None = None, actor: str = "", timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Take the address.

        Raises:
            ServerAddressError: it is none, or a token would cross the network in clear.
        """
        self.server = server
        self._server = _parse(server)
        self._timeout_seconds = timeout_seconds
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if actor:
            self._headers["X-Picket-Actor"] = actor

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """The decoded JSON answer.

        Raises:
            ApiError: the control plane refused.
            UnreachableError: it did not answer.
        """
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def stream(self, path: str, query: Mapping[str, str | int] | None = None) -> Iterator[bytes]:
        """The answer as it comes, in chunks; raises as `get` does, also in between, when it ends too soon."""
        connection = _connection(self._server, self._timeout_seconds)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}" if query else path, headers=self._headers)
            response = connection.getresponse()
            if response.status >= 300:
                raise _error(response.status, response.read(MAX_RESPONSE_BYTES))
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(f"no control plane answers at {self.server}: {why}") from error
        finally:
            connection.close()

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Do something; raises as `get` does."""
        return self._write("POST", path, body)

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        """Set something; raises as `get` does."""
        return self._write("PUT", path, body)

    def _write(self, method: str, path: str, body: Mapping[str, object]) -> Any:
        """Do something once: the key lets it be sent again where it was cut off or not possible for a moment."""
        content, headers = msgspec.json.encode(body), {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        for pause_seconds in RETRY_PAUSES_SECONDS:
            try:
                return self._call(method, path, content, headers)
            except CutOffError:
                pass
            except ApiError as error:
                if error.status != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            time.sleep(pause_seconds)
        return self._call(method, path, content, headers)

    def _call(self, method: str, path: str, content: bytes | None = None, further: Mapping[str, str] = _NO_HEADERS) -> Any:
        headers = {**self._headers, **further}
        connection = _connection(self._server, self._timeout_seconds)
        reached = False
        try:
            connection.connect()
            reached = True
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read(MAX_RESPONSE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            cut_off = reached and isinstance(error, (ConnectionError, http.client.BadStatusLine))
            kind = CutOffError if cut_off else UnreachableError
            raise kind(f"no control plane answers at {self.server}: {why}") from error
        finally:
            connection.close()
        if len(answer) > MAX_RESPONSE_BYTES:
            raise ApiError(response.status, f"the answer is larger than {MAX_RESPONSE_BYTES} bytes", "", "ask for less")
        if response.status >= 300:
            raise _error(response.status, answer)
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(response.status, f"what answers at {self.server} is not a control plane of Picket") from error


class _Problem(msgspec.Struct):
    detail: str = ""
    where: str = ""
    remedy: str = ""


def _error(status: int, answer: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    detail = problem.detail or f"the control plane answered with HTTP status {status}"
    return ApiError(status, detail, problem.where, problem.remedy)


def _parse(text: str) -> _Server:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 107:
            raise ServerAddressError(f"{text!r}: an absolute path of at most 107 bytes is wanted after unix:")
        return _Server("unix", "localhost", None, path)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ServerAddressError(f"{text!r} is not a server's address; {_ADDRESS}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.username:
        raise ServerAddressError(f"{text!r} is not a server's address; {_ADDRESS}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ServerAddressError(f"{text!r}: the token would cross the network in clear; {_ADDRESS}")
    return _Server(parts.scheme, parts.hostname, port)


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or (host.startswith("127.") and host.replace(".", "").isdigit())


def _connection(server: _Server, timeout_seconds: float) -> http.client.HTTPConnection:
    if server.scheme == "unix":
        return _UnixConnection(server.path, timeout_seconds)
    if server.scheme == "https":
        return http.client.HTTPSConnection(server.host, server.port, timeout=timeout_seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(server.host, server.port, timeout=timeout_seconds)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(self.timeout)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made
