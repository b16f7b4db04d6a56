"""Access logs of Istio and Envoy as JSON, a line each, by the names that their default formats give the fields. Pure.

Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from controlplane.flows.imports.model import End, Record, Unused
from controlplane.flows.imports.proxied import Entry, Reading, time_ms


class _Line(msgspec.Struct):
    """The fields that are read. Old formats write numbers as texts; none of those is read."""

    start_time: str | None = None
    method: str | None = None
    path: str | None = None
    origin_path: str | None = msgspec.field(default=None, name="x-envoy-origin-path")
    protocol: str | None = None
    upstream_cluster: str | None = None
    upstream_host: str | None = None
    downstream_local_address: str | None = None
    downstream_remote_address: str | None = None
    authority: str | None = None
    gateway_authority: str | None = msgspec.field(default=None, name=":authority")
    requested_server_name: str | None = None
    request_id: str | None = None
    gateway_request_id: str | None = msgspec.field(default=None, name="x-request-id")
    response_code_details: str | None = None
    connection_termination_details: str | None = None


_decoder = msgspec.json.Decoder(_Line)


class JsonLog:
    """Parses the lines of one log; ``reporter`` is whose it is, where that is known."""

    def __init__(self, reporter: End | None = None) -> None:
        self._reading = Reading()
        self._reporter = reporter

    def __call__(self, line: bytes) -> Iterator[Record]:
        """What a line tells."""
        try:
            found = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield Unused("not a line of this format")
            return
        if not found.start_time:
            yield Unused("no time")
            return
        if not (found.upstream_cluster or found.downstream_remote_address):
            yield Unused("a format without clusters and addresses")
            return
        yield self._reading.record(_entry(found), self._reporter)


def _entry(found: _Line) -> Entry:
    method = _given(found.method)
    return Entry(
        at_ms=time_ms(found.start_time or ""),
        method=method,
        path=_given(found.path) or _given(found.origin_path),
        version=_given(found.protocol),
        cluster=_given(found.upstream_cluster),
        upstream=_given(found.upstream_host),
        local=_given(found.downstream_local_address),
        remote=_given(found.downstream_remote_address),
        authority=_given(found.authority) or _given(found.gateway_authority),
        server_name=_given(found.requested_server_name),
        request_id=_given(found.request_id) or _given(found.gateway_request_id),
        details=_given(found.response_code_details if method else found.connection_termination_details),
    )


def _given(text: Any) -> str:
    return text if isinstance(text, str) and text != "-" else ""
