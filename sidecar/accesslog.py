"""What a line of Envoy's access log means: a use of an edge and its verdict, or nothing. Pure; never reads a file or counts.

The control plane writes the format (`controlplane.xds.logging`) and the names in it. A line is of one of three kinds:
``http`` a request, ``tcp`` a connection, ``conn`` an inbound connection of either kind. The last is read only for a TLS
handshake that failed before HTTP; where bytes are proxied the ``tcp`` line tells the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from protos.picket.v1 import telemetry_pb2

INBOUND, OUTBOUND = int(telemetry_pb2.INBOUND), int(telemetry_pb2.OUTBOUND)
ALLOWED, WOULD_DENY, DENIED = int(telemetry_pb2.ALLOWED), int(telemetry_pb2.WOULD_DENY), int(telemetry_pb2.DENIED)
#: How often a line is written for a request or connection that goes on.
PERIOD_MS = 5_000
MAX_PATH_CHARACTERS = 1024
#: The year 10000: a later time is none.
MAX_TIME_MS = 253_402_300_799_999
#: The first key of each line; a quotation mark within a value is escaped, so this is nowhere else.
_LINE_START = b'{"chain":'
_MESH = "mesh|"
_ALLOW_LIST_DENIED = "rbac_access_denied_matched_policy["
_REPORTED = "would-"
#: BoringSSL's name for what went wrong, in a failure text that Envoy made.
_TLS_FAILURE = re.compile(r"OPENSSL_internal:([A-Z0-9_]+)")
#: The chain of certificates was good and only the name in it was not asked for; two wordings of Envoy.
_NAME_NOT_LISTED = re.compile(r"verify_cert_failed:_(SAN_matcher|verify_SAN_list)")
#: The server name of a connection that another sidecar made to prove that it is refused (`sidecar.prober`).
_PROBE = ".probe.picket.invalid"
_NO_MESH_TLS = "no mesh TLS"
#: A connection from before a revocation still has its old chain, whose upstream is taken away: nothing there can name it.
_TAKEN_AWAY = "cluster_not_found"
#: Requests that no Envoy of ours passes on, whatever the mode and whoever asks: CONNECT, ``OPTIONS *``, a change to a protocol
#: that it does not know. No filter saw them, so nothing there can name the refusal: the control plane does, by these words.
_NEVER_PASSED_ON = frozenset({"route_not_found", "absolute_path_rejected", "upgrade_failed"})


class UnreadableError(ValueError):
    """A line that tells of a flow, but not which."""


class Line(msgspec.Struct, gc=False):
    """The keys that are read, as `controlplane.xds.logging` names them. ``t`` is the start, ``dur`` the time since, in ms."""

    t: int
    k: str
    dir: str
    local: str
    remote: str
    type: str = ""
    id: int = 0
    dur: int | None = None
    chain: str | None = None
    peer: str | None = None
    sni: str | None = None
    svc: str | None = None
    port: int | None = None
    cluster: str | None = None
    term: str | None = None
    fail: str | None = None
    shadow: str | None = None
    shadow_result: str | None = None
    method: str | None = None
    path: str | None = None
    host: str | None = None
    ctype: str | None = None
    detail: str | None = None
    route: str | None = None


class Use(NamedTuple):
    """Everything that tells one kind of use of an edge from another: the fields of `picket.v1.Observation` but the counts."""

    direction: int
    verdict: int
    peer_id: str
    peer_address: str
    service: str
    dialled_address: str
    port: int
    protocol: str
    method: str
    path: str
    host: str
    server_name: str
    deny_id: str
    reason: str


#: The same as a plain tuple: a named one costs as much as the whole look-up, and one is made per line.
Key = tuple[int, int, str, str, str, str, int, str, str, str, str, str, str, str]

# A time is text in Envoy's JSON, hence not strict.
_decoder = msgspec.json.Decoder(Line, strict=False)


def read_lines(chunk: bytes) -> tuple[list[Line], int]:
    """The lines of a piece of the log, and how many of them could not be read."""
    try:
        return _decoder.decode_lines(chunk), 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    lines: list[Line] = []
    lost = 0
    for piece in chunk.split(b"\n"):
        if not piece.strip():
            continue
        line = _read(piece)
        if line is None:
            lost += 1
            # An Envoy that died within a line leaves its beginning in front of the next one's first.
            line = _read(piece[start:]) if (start := piece.rfind(_LINE_START)) > 0 else None
        if line is not None:
            lines.append(line)
    return lines, lost


def _read(piece: bytes) -> Line | None:
    try:
        return _decoder.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_periodic(line: Line) -> bool:
    """Whether the request or connection goes on after this line."""
    return line.type.endswith("Periodic")


def key_of(line: Line) -> Key | None:
    """What a line tells, as a `Use` in a plain tuple; ``None`` when it is no use of an edge, or another line tells it.

    Raises:
        UnreadableError: it is a use, but the port is missing.
    """
    kind = line.k
    if kind == "conn":
        return _handshake(line)
    deny_id = _denied(line, line.detail if kind == "http" else line.term)
    if kind == "http":
        return _request(line, deny_id)
    return _connection(line, deny_id) if kind == "tcp" else None


def _denied(line: Line, details: str | None) -> str | None:
    """The name under which a filter, a route or a chain dropped something; ``None`` when none did."""
    if details is not None and details.startswith(_ALLOW_LIST_DENIED):
        name = details[len(_ALLOW_LIST_DENIED) :].rstrip("]")
        return name if name.startswith("deny:") else ""
    route, chain = line.route, line.chain
    if route is not None and route.startswith("deny:"):
        return route
    return chain if chain is not None and chain.startswith("deny:") else None


def _reported(line: Line) -> str | None:
    """The name under which something passed that is not approved; ``None`` when it is approved."""
    if line.shadow_result == "denied":
        return line.shadow or ""
    route, chain = line.route, line.chain
    if route is not None and route.startswith("would-deny:"):
        return route[len(_REPORTED) :]
    return chain[len(_REPORTED) :] if chain is not None and chain.startswith("would-deny:") else None


def _request(line: Line, denied: str | None) -> Key | None:
    method, content = line.method, line.ctype
    if method is None:
        return None  # refused by the codec: there was no request
    protocol = "grpc" if content is not None and content.lower().startswith("application/grpc") else "http"
    if denied is not None:
        return _use(line, DENIED, protocol, method, _path(line), denied, line.detail or "")
    if line.detail in _NEVER_PASSED_ON:
        return _use(line, DENIED, protocol, method, _path(line), "", line.detail or "")
    if line.cluster is None:
        if line.detail == _TAKEN_AWAY and line.dir == "out":
            return _use(line, DENIED, protocol, method, _path(line), "", _TAKEN_AWAY)
        return None  # answered by Envoy itself (a bad request): it reached nobody
    reported = _reported(line)
    if reported is not None:
        return _use(line, WOULD_DENY, protocol, method, _path(line), reported, "")
    return _allowed(line, protocol, method, _path(line))


def _path(line: Line) -> str:
    return (line.path or "")[:MAX_PATH_CHARACTERS]


def _connection(line: Line, denied: str | None) -> Key | None:
    protocol = "tls" if line.sni else "tcp"
    if denied is not None:
        words = line.term or (_NO_MESH_TLS if line.dir == "in" else "")
        return _use(line, DENIED, protocol, "", "", denied, words)
    if line.cluster is None:
        return _refused_in_handshake(line)
    reported = _reported(line)
    if reported is not None:
        return _use(line, WOULD_DENY, protocol, "", "", reported, "")
    return _allowed(line, protocol, "", "")


def _allowed(line: Line, protocol: str, method: str, path: str) -> Key | None:
    if line.dir == "in":
        port, name = line.port or _port(line.local), line.sni
        # Of the names only a probe's is told: a forbidden connection that came through is no use of an edge.
        name = name if name is not None and name.endswith(_PROBE) else ""
        return (INBOUND, ALLOWED, line.peer or "", line.remote, line.svc or "", "", port, protocol, method, path, "", name, "", "")
    if line.cluster is not None and line.cluster.startswith(_MESH):
        return None  # the destination's sidecar reports it
    return _use(line, ALLOWED, protocol, method, path, "", "")


def _use(line: Line, verdict: int, protocol: str, method: str, path: str, deny_id: str, reason: str) -> Key:
    host, name = line.host or "", line.sni or ""
    if line.dir == "in":
        port = line.port or _port(line.local)
        peer = line.peer or ""
        return (INBOUND, verdict, peer, line.remote, line.svc or "", "", port, protocol, method, path, host, name, deny_id, reason)
    dialled = line.local.rpartition(":")[0].strip("[]")
    return (OUTBOUND, verdict, "", "", "", dialled, _port(line.local), protocol, method, path, host, name, deny_id, reason)


def _handshake(line: Line) -> Key | None:
    if line.fail is None or line.chain is None or not line.chain.endswith("/mtls/http"):
        return None
    return _refused_in_handshake(line)


def _refused_in_handshake(line: Line) -> Key | None:
    """A peer without a certificate that counts here. Who hung up, or did not trust this side, was not refused."""
    fail = line.fail
    if fail is None or line.chain is None or "/mtls/" not in line.chain:
        return None
    found = _TLS_FAILURE.search(fail)
    failure = found[1] if found is not None else ""
    if "_ALERT_" in failure:
        return None
    if line.peer and not ("CERTIFICATE" in failure or "SIGNATURE" in failure):
        return None  # the handshake was over: the peer had proved its name
    words = fail[found.start(1) :].removesuffix(":TLS_error_end") if found is not None else fail
    proved = failure == "CERTIFICATE_VERIFY_FAILED" and _NAME_NOT_LISTED.search(fail) is not None
    if line.peer and not proved:
        words = f"{words}; it called itself {line.peer}"
    use = _use(line, DENIED, "tls", "", "", "", words)
    return use if proved else (*use[:2], "", *use[3:])


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UnreadableError(f"no port in {address[:80]!r}")
    return int(port)
