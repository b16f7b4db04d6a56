"""Kubelet's probes under default-deny: HTTP, gRPC and TCP probes go to the agent, which makes them from within the pod. Pure.

Kubelet has no identity, so its probes of an enforced port would be refused. The agent answers on a port that is not captured,
and asks the application at the address that the probe had. An exec probe needs no network and stays.
Fields: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Probe
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from controlplane.kubernetes.injection.ports import OWN_PORTS, PROBE_PORT
from controlplane.kubernetes.injection.review import Json

PREFIX = "/app-health"
#: The sidecar's environment variable with the probes and hooks that it makes: a JSON object from path to probe.
VARIABLE = "PICKET_SIDECAR_APP_PROBES"
KINDS: Mapping[str, str] = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
#: What the agent takes, and the system: one variable has at most 128 KiB.
MAX_RECORD_BYTES = 64 * 1024
MAX_PROBES = 256
MAX_TIMEOUT_SECONDS = 3600
_MAX_HEADERS = 32
_TARGET = re.compile(r"/[\x21-\x7e]{0,4095}\Z")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}\Z")
_HANDLERS = ("httpGet", "grpc", "tcpSocket", "exec")
_NUMBERED = ("httpGet", "grpc", "tcpSocket")


def read_record(text: object) -> dict[str, Json]:
    """The probes and hooks that an earlier pass recorded in a pod; nothing where it is none of ours.

    It may have been written by whoever made the pod. That is no way around anything: only what `kept` takes is taken.
    """
    if not isinstance(text, str) or len(text) > MAX_RECORD_BYTES:
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {path: entry for path, probe in found.items() if isinstance(probe, dict) and (entry := kept(probe, None)) is not None}


def write_record(record: Mapping[str, Json]) -> str:
    """The variable's value."""
    return msgspec.json.encode(dict(sorted(record.items()))).decode()


def rewritten(containers: Iterable[Json], before: Mapping[str, Json]) -> tuple[list[Json], dict[str, Json]]:
    """The containers with their probes led to the agent, and what the agent has to ask in their place.

    ``before`` is what an earlier pass recorded: probes that already lead to the agent keep their entry in it.
    """
    changed: list[Json] = []
    record: dict[str, Json] = {}
    for container in containers:
        new = dict(container)
        for key, path, probe in _probes(container):
            own = _is_ours(probe, path)
            entry = before.get(path) if own else kept(probe, container.get("ports"))
            if entry is None:
                continue
            record[path] = entry
            if not own:
                others = {name: value for name, value in probe.items() if name not in _HANDLERS}
                new[key] = {"httpGet": {"path": path, "port": PROBE_PORT, "scheme": "HTTP"}, **others}
        changed.append(new)
    return changed, record


def _probes(container: Json) -> Iterator[tuple[str, str, Json]]:
    """Each probe of a container: its key, the agent's path for it, and itself."""
    for key, kind in KINDS.items():
        probe = container.get(key)
        if isinstance(probe, dict):
            yield key, f"{PREFIX}/{container['name']}/{kind}", probe


def _is_ours(probe: Json, path: str) -> bool:
    handler = probe.get("httpGet")
    return isinstance(handler, dict) and handler.get("port") == PROBE_PORT and handler.get("path") == path


def kept(probe: Json, ports: object) -> Json | None:
    """What the agent needs of a probe, with its port as a number; ``None`` for one that stays with kubelet.

    That is a probe by exec, one of another host (kubelet dials that itself), one whose port Kubernetes will refuse, and one
    with a path or header that the agent does not send.
    """
    name = next((name for name in _NUMBERED if isinstance(probe.get(name), dict)), None)
    if name is None:
        return None
    handler: Json = probe[name]
    port = _number(handler.get("port"), ports)
    if port is None or port in OWN_PORTS or handler.get("host"):
        return None
    more: Json | None = {}
    match name, handler:
        case "httpGet", _:
            more = _http(handler)
        case "grpc", {"service": str(service)} if service:
            more = {"service": service}
        case _:
            pass
    if more is None:
        return None
    timeout = probe.get("timeoutSeconds")
    seconds = min(timeout, MAX_TIMEOUT_SECONDS) if isinstance(timeout, int) and timeout > 0 else 1
    return {name: {"port": port, **more}, "timeoutSeconds": int(seconds)}


def _http(handler: Json) -> Json | None:
    path = handler.get("path") or "/"
    if not isinstance(path, str) or not _TARGET.match(path := f"/{path.removeprefix('/')}"):
        return None
    headers: list[Json] = []
    for header in _items(handler.get("httpHeaders")):
        match header:
            case {"name": str(name), "value": str(value)} if _HEADER.match(name) and _VALUE.match(value):
                headers.append({"name": name, "value": value})
            case _:
                return None
    made: Json = {"path": path, "scheme": "HTTPS" if handler.get("scheme") == "HTTPS" else "HTTP"}
    if len(headers) > _MAX_HEADERS:
        return None
    return {**made, "httpHeaders": headers} if headers else made


def _number(port: object, ports: object) -> int | None:
    """A port by its number or by the name that the container gave it."""
    if isinstance(port, str):
        for declared in _items(ports):
            match declared:
                case {"name": str(name), "containerPort": int(number)} if name == port:
                    return _number(number, None)
                case _:
                    pass
        return _number(int(port), None) if port.isascii() and port.isdecimal() and len(port) <= 5 else None
    return port if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 else None


def _items(value: object) -> list[object]:
    """A list's items; none of what is no list, which the API server refuses after the patch."""
    return value if isinstance(value, list) else []
