"""The Kubernetes API over HTTP: one request, one answer, and streams of lines. Knows no kind of object, and keeps nothing.

Where the API is and with what it is asked comes from the pod's own service account, or from a kubeconfig.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self, TypeVar

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams

TIMEOUT_SECONDS = 10.0
#: A watch that is silent for so long is dead: bookmarks come about once a minute, and the API ends it sooner itself.
WATCH_SILENCE_SECONDS = 600.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
#: An object has at most 1.5 MiB in etcd, and JSON of it may be larger.
MAX_LINE_BYTES = 8 * 1024 * 1024
#: Nobody answers, or what to prove ourselves with cannot be read, now: a token is read again, a plugin of a kubeconfig run again.
_UNREACHABLE = (httpx2.HTTPError, ConfigError, OSError)
T = TypeVar("T")
Parameters = Mapping[str, str | int]


class KubernetesError(Exception):
    """The API did not do what was asked. ``status`` is HTTP's, 0 where there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(" ".join(message.split())[:500])
        self.status = status


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


class Client:
    """Asks one cluster. An asynchronous context manager."""

    def __init__(self, config: KubeConfig | None = None) -> None:
        """``config``: nothing for the pod's own, else that of KUBECONFIG or ~/.kube/config.

        Raises:
            KubernetesError: there is none, or it cannot be used.
        """
        try:
            chosen = (config or KubeConfig.from_env()).get()
            assert chosen is not None  # only with a default of None
            self._http = AsyncClient(chosen, ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_SECONDS), trust_env=False))
        except (ConfigError, OSError, AssertionError) as error:
            raise KubernetesError(0, f"no access to a cluster: {error}; run in a pod, or set KUBECONFIG") from error
        self.namespace = chosen.namespace

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is used."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """`close`."""
        await self.close()

    async def close(self) -> None:
        """End every connection."""
        await self._http.aclose()

    async def get(self, path: str, kind: type[T], parameters: Parameters | None = None) -> T:
        """Read something. Raises `KubernetesError`."""
        return await self._ask("GET", path, kind, parameters=parameters)

    async def post(self, path: str, body: object, kind: type[T]) -> T:
        """Make something. Raises `KubernetesError`."""
        return await self._ask("POST", path, kind, body=body)

    async def put(self, path: str, body: object, kind: type[T]) -> T:
        """Replace something. Raises `KubernetesError`."""
        return await self._ask("PUT", path, kind, body=body)

    async def patch(self, path: str, changes: Sequence[object], kind: type[T]) -> T:
        """Change parts of something by a JSON patch (RFC 6902). Raises `KubernetesError`."""
        return await self._ask("PATCH", path, kind, body=changes, content_type="application/json-patch+json")

    async def apply(self, path: str, body: object, kind: type[T], manager: str) -> T:
        """Make something, or bring what ``manager`` says of it up to date; what others say of it is not taken over.

        Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/

        Raises:
            KubernetesError: with status 409 where others wrote a field that it wants otherwise.
        """
        # Any JSON is YAML.
        parameters = {"fieldManager": manager, "force": "false"}
        return await self._ask("PATCH", path, kind, parameters=parameters, body=body, content_type="application/apply-patch+yaml")

    async def delete(self, path: str, *, uid: str = "", version: str = "") -> None:
        """Remove an object: as it was read, and no later one, where that is said. Raises `KubernetesError`."""
        conditions = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions}
        await self._ask("DELETE", path, _Status, body=body)

    async def lines(self, path: str, parameters: Parameters) -> AsyncGenerator[bytes, None]:
        """A stream's lines, until the API ends it.

        Raises:
            KubernetesError: refused, broken off, silent for too long, or a line without end.
        """
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=WATCH_SILENCE_SECONDS)
        request = self._http.build_request("GET", path, params=dict(parameters), timeout=timeout)
        try:
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code != 200:
                    raise _refused(path, answer.status_code, await _bounded(answer))
                rest = b""
                async with aclosing(answer.aiter_bytes()) as parts:
                    async for part in parts:
                        *whole, rest = (rest + part).split(b"\n")
                        for line in whole:
                            yield line
                        if len(rest) > MAX_LINE_BYTES:
                            raise KubernetesError(0, f"{path}: a line of more than {MAX_LINE_BYTES} bytes")
            finally:
                await answer.aclose()
        except _UNREACHABLE as error:
            raise KubernetesError(0, f"{path}: {type(error).__name__}: {error}") from error

    async def _ask(
        self, method: str, path: str, kind: type[T], *, parameters: Parameters | None = None, body: object = None,
        content_type: str = "application/json",
    ) -> T:  # fmt: skip
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content_type} if content is not None else {}
        request = self._http.build_request(method, path, params=dict(parameters or {}), content=content, headers=headers)
        try:
            answer = await self._http.send(request, stream=True)
            try:
                read = await _bounded(answer)
            finally:
                await answer.aclose()
        except _UNREACHABLE as error:
            raise KubernetesError(0, f"{path}: {type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise _refused(path, answer.status_code, read)
        try:
            return msgspec.json.decode(read, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KubernetesError(0, f"{path}: not what was expected: {error}") from error


async def _bounded(answer: Any) -> bytes:
    """A whole body."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > MAX_ANSWER_BYTES:
            raise KubernetesError(0, f"{answer.request.url.path}: more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _refused(path: str, status: int, body: bytes) -> KubernetesError:
    try:
        told = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Status()
    return KubernetesError(status, f"{path}: {status} {told.reason} {told.message}")
