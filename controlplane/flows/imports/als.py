"""Messages of Envoy's access log service as JSON, one per line: each holds entries of one proxy, which it names. Pure.

Field names may be in either spelling of protobuf's JSON.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from controlplane.flows.imports.model import End, Record, Unused, workload_of_pod
from controlplane.flows.imports.proxied import Entry, Reading, time_ms
from controlplane.identity.spiffe import SpiffeError, parse_workload

MAX_ENTRIES = 10_000
_VERSIONS = {"HTTP10": "HTTP/1.0", "HTTP11": "HTTP/1.1", "HTTP2": "HTTP/2", "HTTP3": "HTTP/3"}


class _Struct(msgspec.Struct, rename="camel"):
    pass


class _Socket(_Struct):
    address: str = ""
    port_value: int = 0


class _Address(_Struct):
    socket_address: _Socket | None = None


class _Name(_Struct):
    uri: str = ""


class _Certificate(_Struct):
    subject_alt_name: list[_Name] = []


class _Tls(_Struct):
    peer_certificate_properties: _Certificate | None = None
    tls_sni_hostname: str = ""


class _Common(_Struct):
    downstream_remote_address: _Address | None = None
    downstream_local_address: _Address | None = None
    upstream_remote_address: _Address | None = None
    upstream_cluster: str = ""
    start_time: str = ""
    tls_properties: _Tls | None = None


class _Request(_Struct):
    request_method: str = ""
    path: str = ""
    authority: str = ""
    request_id: str = ""


class _Response(_Struct):
    response_code_details: str = ""


class _Http(_Struct):
    common_properties: _Common
    protocol_version: str = ""
    request: _Request | None = None
    response: _Response | None = None


class _Tcp(_Struct):
    common_properties: _Common


class _HttpLogs(_Struct):
    log_entry: list[_Http] = []


class _TcpLogs(_Struct):
    log_entry: list[_Tcp] = []


class _Node(_Struct):
    id: str = ""
    cluster: str = ""


class _Identifier(_Struct):
    node: _Node | None = None


class _Message(_Struct):
    identifier: _Identifier | None = None
    http_logs: _HttpLogs | None = None
    tcp_logs: _TcpLogs | None = None


_decoder = msgspec.json.Decoder(_Message)


class ServiceLog:
    """Parses messages. A stream names its proxy in the first of them only; the ones behind it are of the same."""

    def __init__(self, reporter: End | None = None) -> None:
        self._reading = Reading()
        self._reporter = reporter

    def __call__(self, line: bytes) -> Iterator[Record]:
        """What a message tells, entry by entry."""
        try:
            message = _decoder.decode(_camel(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield Unused("not a line of this format")
            return
        if message.identifier is not None and message.identifier.node is not None:
            self._reporter = _reporter(message.identifier.node) or self._reporter
        http = message.http_logs.log_entry if message.http_logs is not None else []
        tcp = message.tcp_logs.log_entry if message.tcp_logs is not None else []
        if not http and not tcp:
            yield Unused("a message without entries")
        elif len(http) + len(tcp) > MAX_ENTRIES:
            yield Unused("a message with too many entries")
        else:
            for entry in http:
                yield self._record(entry.common_properties, entry)
            for connection in tcp:
                yield self._record(connection.common_properties, None)

    def _record(self, common: _Common, http: _Http | None) -> Record:
        tls = common.tls_properties
        return self._reading.record(_entry(common, http, tls), self._reporter, _peer(tls))


def _camel(line: bytes) -> bytes:
    """Messages in protobuf's own spelling are turned into the other one."""
    if b'"http_logs"' not in line and b'"tcp_logs"' not in line and b'"log_entry"' not in line:
        return line
    return msgspec.json.encode(_renamed(msgspec.json.decode(line)))


def _renamed(value: object) -> object:
    if isinstance(value, dict):
        return {_camel_case(key): _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _camel_case(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _reporter(node: _Node) -> End | None:
    """``sidecar~IP~POD.NAMESPACE~DOMAIN`` and the cluster ``app.namespace``, as Istio names its proxies."""
    parts = node.id.split("~")
    if len(parts) < 4:
        return None
    pod, _, namespace = parts[2].rpartition(".")
    return End(namespace=namespace, app=node.cluster.partition(".")[0], workload=workload_of_pod(pod), address=parts[1])


def _peer(tls: _Tls | None) -> End | None:
    if tls is None or tls.peer_certificate_properties is None:
        return None
    for name in tls.peer_certificate_properties.subject_alt_name:
        domain, found, rest = name.uri.removeprefix("spiffe://").partition("/ns/")
        try:
            workload = parse_workload(rest.replace("/sa/", "/", 1)) if found and domain else None
        except SpiffeError:
            workload = None
        if workload is not None:
            return End(namespace=workload.namespace, account=workload.account)
    return None


def _address(address: _Address | None) -> str:
    if address is None or address.socket_address is None:
        return ""
    socket = address.socket_address
    host = f"[{socket.address}]" if ":" in socket.address else socket.address
    return f"{host}:{socket.port_value}"


def _entry(common: _Common, http: _Http | None, tls: _Tls | None) -> Entry:
    request = (http.request if http is not None else None) or _Request()
    response = (http.response if http is not None else None) or _Response()
    return Entry(
        at_ms=time_ms(common.start_time),
        method=request.request_method if request.request_method != "METHOD_UNSPECIFIED" else "",
        path=request.path,
        version=_VERSIONS.get(http.protocol_version, "") if http is not None else "",
        cluster=common.upstream_cluster,
        upstream=_address(common.upstream_remote_address),
        local=_address(common.downstream_local_address),
        remote=_address(common.downstream_remote_address),
        authority=request.authority,
        server_name=tls.tls_sni_hostname if tls is not None else "",
        request_id=request.request_id,
        details=response.response_code_details,
    )
