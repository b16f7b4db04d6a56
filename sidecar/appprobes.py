"""The probes and HTTP hooks of a pod's containers that the kubelet now asks of the agent: read from a setting, checked.

Performs none. A hook's path ends in a word that only the kubelet and whoever may read the pod have: it does something, where a
probe only looks.

The handlers have Kubernetes' own names, so that a probe is carried over as it stood:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Probe
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from sidecar.join import SettingsError
from sidecar.ports import OWN_PORTS

MAX_BYTES = 256 * 1024
MAX_PROBES = 256
MAX_HEADERS = 32
MAX_TIMEOUT_SECONDS = 3600
#: A path that the kubelet asks for: whose probe or hook, and which.
_PATH = re.compile(r"/app-health/[A-Za-z0-9._-]{1,253}/(livez|readyz|startupz)")
HOOK_PREFIX = "/app-lifecycle/"
_HOOK_PATH = re.compile(HOOK_PREFIX + r"[A-Za-z0-9._-]{1,253}/(poststart|prestop)/[0-9a-f]{32}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}")
_TARGET = re.compile(r"[\x21-\x7e]{1,4096}")


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One header of a request."""

    name: str
    value: str = ""


class HttpGet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A request that has to be answered with a status from 200 to 399."""

    port: int
    path: str = "/"
    scheme: str = "HTTP"
    host: str = ""
    http_headers: tuple[Header, ...] = ()


class TcpSocket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port that has to accept a connection."""

    port: int
    host: str = ""


class Grpc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port whose gRPC health service has to say SERVING."""

    port: int
    service: str | None = ""


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One of the three, and how long an answer may take, in seconds. A hook is a request."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    timeout_seconds: int = 1

    @property
    def needs_tls(self) -> bool:
        """Whether it is a request over HTTPS."""
        return self.http_get is not None and self.http_get.scheme == "HTTPS"


def read_probes(text: str) -> Mapping[str, Probe]:
    """Probes by the path under which the agent is asked for each: ``{"/app-health/web/readyz": {"httpGet": {"port": 8080}}}``.

    Raises:
        SettingsError: not JSON, not of this shape, too many, or something that no probe of this pod may reach.
    """
    if not text:
        return {}
    if len(text.encode()) > MAX_BYTES:
        raise SettingsError(f"--app-probes: larger than {MAX_BYTES} bytes")
    try:
        read = msgspec.json.decode(text, type=dict[str, Probe])
    except msgspec.DecodeError as error:
        raise SettingsError(f"--app-probes: {error}") from error
    if len(read) > MAX_PROBES:
        raise SettingsError(f"--app-probes: more than {MAX_PROBES}")
    for path, probe in read.items():
        _check(path, probe)
    return read


def _check(path: str, probe: Probe) -> None:
    where = f"--app-probes: {path[:100]}"
    if not _PATH.fullmatch(path) and not _HOOK_PATH.fullmatch(path):
        raise SettingsError(f"{where}: /app-health/CONTAINER/ and then livez, readyz or startupz is wanted, or a hook's path")
    if path.startswith(HOOK_PREFIX) and probe.http_get is None:
        raise SettingsError(f"{where}: httpGet is wanted")
    handlers = [each for each in (probe.http_get, probe.tcp_socket, probe.grpc) if each is not None]
    if len(handlers) != 1:
        raise SettingsError(f"{where}: one of httpGet, tcpSocket and grpc is wanted")
    if not 1 <= probe.timeout_seconds <= MAX_TIMEOUT_SECONDS:
        raise SettingsError(f"{where}: timeoutSeconds: 1 to {MAX_TIMEOUT_SECONDS}")
    for handler in handlers:
        if not 0 < handler.port < 65536 or handler.port in OWN_PORTS:
            raise SettingsError(f"{where}: port: {handler.port} is not a port of the application")
        if not isinstance(handler, Grpc) and handler.host:
            raise SettingsError(f"{where}: host: only the pod itself is probed; leave a probe of another host as it was")
        if isinstance(handler, HttpGet):
            _check_request(where, handler)


def _check_request(where: str, handler: HttpGet) -> None:
    if handler.scheme not in {"HTTP", "HTTPS"}:
        raise SettingsError(f"{where}: scheme: HTTP or HTTPS")
    if not _TARGET.fullmatch(handler.path):
        raise SettingsError(f"{where}: path: 1 to 4096 characters, neither spaces nor control characters")
    if len(handler.http_headers) > MAX_HEADERS:
        raise SettingsError(f"{where}: httpHeaders: more than {MAX_HEADERS}")
    for header in handler.http_headers:
        if not _TOKEN.fullmatch(header.name) or not _VALUE.fullmatch(header.value):
            raise SettingsError(f"{where}: httpHeaders: {header.name[:40]!r} is no header, or its value has control characters")
