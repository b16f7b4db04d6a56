"""The formats of logs that are read, and which one a log is in. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec

from controlplane.flows.imports.als import ServiceLog
from controlplane.flows.imports.envoy_json import JsonLog
from controlplane.flows.imports.envoy_text import TextLog
from controlplane.flows.imports.hubble import HubbleLog
from controlplane.flows.imports.model import End, Parser
from controlplane.flows.imports.vpc import VpcLog

HUBBLE, ISTIO_JSON, ISTIO_TEXT, ALS, VPC = "hubble", "istio-json", "istio-text", "envoy-als", "aws-vpc"
#: What is read of a log whose format nobody said.
SAMPLE_LINES = 50
_VPC_LINE = re.compile(rb"version account-id |[0-9]{1,2} [0-9]{6,14} eni-")
#: The first of these keys that a line has says its format.
_KEYS = (
    (("flow", "lost_events", "node_status"), HUBBLE),
    (("httpLogs", "tcpLogs", "http_logs", "tcp_logs", "identifier"), ALS),
    (("l4", "traffic_direction"), HUBBLE),
    (("start_time", "upstream_cluster", "downstream_remote_address"), ISTIO_JSON),
)

#: How to read each format; the argument is whose log it is, where that is known.
FORMATS: dict[str, Callable[[End | None], Parser]] = {
    HUBBLE: lambda _: HubbleLog(),
    ISTIO_JSON: JsonLog,
    ISTIO_TEXT: TextLog,
    ALS: ServiceLog,
    VPC: lambda _: VpcLog(),
}


def detect(lines: Iterable[bytes]) -> str | None:
    """The format of a log by its first lines; ``None`` when they are of none that is known."""
    for _, line in zip(range(SAMPLE_LINES), lines, strict=False):
        found = _format_of(line.strip())
        if found is not None:
            return found
    return None


def _format_of(line: bytes) -> str | None:
    if line.startswith(b"["):
        return ISTIO_TEXT
    if _VPC_LINE.match(line):
        return VPC
    if not line.startswith(b"{"):
        return None
    try:
        document = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return next((name for keys, name in _KEYS if any(key in document for key in keys)), None)
