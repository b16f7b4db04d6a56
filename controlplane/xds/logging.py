"""The access logs that sidecars write: one JSON object a line, which `sidecar.accesslog` reads. Never reads one.

Operators: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

import functools

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from google.protobuf import struct_pb2

from controlplane.xds.message import pack

#: Relative to Envoy's working directory, which the agent sets to its state directory.
LOG_FILE = "access.log"

_CONNECTION = {
    "t": "%START_TIME(%s%3f)%",
    "dur": "%DURATION%",
    "chain": "%FILTER_CHAIN_NAME%",
    "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "remote": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "flags": "%RESPONSE_FLAGS%",
    "type": "%ACCESS_LOG_TYPE%",
}
_TCP = _CONNECTION | {
    "k": "tcp",
    "id": "%CONNECTION_ID%",
    "term": "%CONNECTION_TERMINATION_DETAILS%",
    "fail": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "shadow": "%DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_effective_policy_id)%",
    "shadow_result": "%DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_engine_result)%",
}
_HTTP = _CONNECTION | {
    "k": "http",
    "id": "%CONNECTION_ID%",
    "proto": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "ctype": "%REQ(CONTENT-TYPE)%",
    "code": "%RESPONSE_CODE%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "shadow": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%",
    "shadow_result": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)%",
}
_HANDSHAKE = _CONNECTION | {
    "k": "conn",
    "id": "%CONNECTION_ID%",
    "fail": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
}

_FIELDS = {"tcp": _TCP, "http": _HTTP, "conn": _HANDSHAKE}


def tcp_log(direction: str, service: str = "", port: int = 0) -> accesslog_pb2.AccessLog:
    """A line per connection at its end, and every few seconds while it is open."""
    return _file_log("tcp", direction, service, port)


def http_log(direction: str, service: str = "", port: int = 0) -> accesslog_pb2.AccessLog:
    """A line per request."""
    return _file_log("http", direction, service, port)


def handshake_log(service: str) -> accesslog_pb2.AccessLog:
    """A line per connection of a listener: the only place where a TLS handshake that failed before HTTP shows."""
    return _file_log("conn", "in", service, 0)


@functools.lru_cache(maxsize=1024)
def _file_log(kind: str, direction: str, service: str, port: int) -> accesslog_pb2.AccessLog:
    """Built once for the same arguments: every chain of every source has one. Whatever takes it copies it."""
    line = struct_pb2.Struct()
    for key, value in sorted(_FIELDS[kind].items()):
        line.fields[key].string_value = value
    line.fields["dir"].string_value = direction
    line.fields["svc"].string_value = service
    line.fields["port"].number_value = port
    log = file_pb2.FileAccessLog(
        path=LOG_FILE, log_format=substitution_format_string_pb2.SubstitutionFormatString(json_format=line)
    )
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.file", typed_config=pack(log))
