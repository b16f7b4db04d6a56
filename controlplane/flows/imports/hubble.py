"""Cilium Hubble's flows as JSON, one per line, as `hubble observe -o json` and the exporter write them. Pure.

A request, or the first packet of a connection, is a use of an edge; replies, later packets and the same thing at another
point of its way are not.
Source: https://github.com/cilium/cilium/blob/main/api/v1/flow/flow.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from controlplane.flows.imports.model import (
    End,
    Imported,
    Lost,
    Record,
    Unused,
    checked,
    http_protocol,
    split_host,
    workload_of_pod,
)
from controlplane.flows.imports.proxied import time_ms
from controlplane.flows.imports.sightings import Once, Pairs
from controlplane.flows.model import Verdict

_VERDICTS = {"FORWARDED": Verdict.ALLOWED, "AUDIT": Verdict.WOULD_DENY, "DROPPED": Verdict.DENIED}
_POLICY_DROPS = frozenset({"POLICY_DENIED", "POLICY_DENY", "AUTH_REQUIRED", ""})
_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
_NAMESPACE = "io.kubernetes.pod.namespace"
_APP_LABELS = ("app.kubernetes.io/name", "k8s-app", "app")
#: Connections with the same ports within this time are one, seen at several points.
_SAME_CONNECTION_MS = 60_000


class _Workload(msgspec.Struct):
    name: str = ""


class _Endpoint(msgspec.Struct):
    namespace: str = ""
    labels: list[str] = []
    pod_name: str = ""
    workloads: list[_Workload] = []


class _Ip(msgspec.Struct):
    source: str = ""
    destination: str = ""


class _Flags(msgspec.Struct):
    SYN: bool = False
    ACK: bool = False


class _Tcp(msgspec.Struct):
    source_port: int = 0
    destination_port: int = 0
    flags: _Flags | None = None


class _Layer4(msgspec.Struct):
    TCP: _Tcp | None = None


class _Header(msgspec.Struct):
    key: str = ""
    value: str = ""


class _Http(msgspec.Struct):
    method: str = ""
    url: str = ""
    protocol: str = ""
    headers: list[_Header] = []


class _Layer7(msgspec.Struct):
    type: str = ""
    http: _Http | None = None
    dns: dict[str, Any] | None = None
    kafka: dict[str, Any] | None = None


class _Service(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Flow(msgspec.Struct):
    time: str = ""
    verdict: str = ""
    drop_reason_desc: str = ""
    IP: _Ip | None = None
    l4: _Layer4 | None = None
    source: _Endpoint | None = None
    destination: _Endpoint | None = None
    Type: str = ""
    destination_names: list[str] = []
    l7: _Layer7 | None = None
    reply: bool = False
    is_reply: bool | None = None
    destination_service: _Service | None = None
    traffic_direction: str = ""


class _LostEvents(msgspec.Struct):
    num_events_lost: int | str = 0  # a text, as protobuf's JSON has it


class _Line(msgspec.Struct):
    flow: _Flow | None = None
    lost_events: _LostEvents | None = None
    node_status: dict[str, Any] | None = None
    agent_event: dict[str, Any] | None = None
    debug_event: dict[str, Any] | None = None


_line_decoder = msgspec.json.Decoder(_Line)
_flow_decoder = msgspec.json.Decoder(_Flow)
_COUNT = re.compile(r"[1-9][0-9]{0,15}\Z")


class HubbleLog:
    """Parses the lines of one log."""

    def __init__(self) -> None:
        self._pairs = Pairs()
        self._once = Once()

    def __call__(self, line: bytes) -> Iterator[Record]:
        """What a line tells."""
        try:
            found = _line_decoder.decode(line)
            flow = found.flow
            if flow is None and found.lost_events is not None:
                count = str(found.lost_events.num_events_lost)
                yield Lost(int(count) if _COUNT.match(count) else 1)
                return
            if flow is None and any(event is not None for event in (found.node_status, found.agent_event, found.debug_event)):
                yield Unused("an event that is no flow")
                return
            flow = flow or _flow_decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield Unused("not a line of this format")
            return
        yield self._record(flow) if flow.verdict else Unused("not a line of this format")

    def _record(self, flow: _Flow) -> Record:
        if flow.is_reply or (flow.is_reply is None and flow.reply) or (flow.l7 is not None and flow.l7.type == "RESPONSE"):
            return Unused("a reply")
        verdict = _VERDICTS.get(flow.verdict)
        if verdict is None:
            return Unused("a step on the way, without a verdict")
        if verdict is Verdict.DENIED and flow.drop_reason_desc not in _POLICY_DROPS:
            return Unused("dropped for another reason than a policy")
        tcp = flow.l4.TCP if flow.l4 is not None else None
        if flow.l7 is not None:
            return self._request(flow, flow.l7, tcp, verdict)
        if tcp is None:
            return Unused("not TCP")
        return self._connection(flow, tcp, verdict)

    def _request(self, flow: _Flow, layer: _Layer7, tcp: _Tcp | None, verdict: Verdict) -> Record:
        if layer.dns is not None:
            return Unused("a DNS query")
        if layer.http is None and layer.kafka is None:
            return Unused("a protocol that is not read")
        port = tcp.destination_port if tcp is not None else 0
        if layer.http is None:
            return checked(_imported(flow, port, "kafka", verdict))
        http = layer.http
        try:
            url = urlsplit(http.url)
        except ValueError:
            return Unused("no address that can be read")
        host, asked_port = split_host(url.netloc.rpartition("@")[2])
        protocol = http_protocol(http.protocol, http.method, url.path)
        found = checked(_imported(flow, port or asked_port, protocol, verdict, host, http.method, url.path or "/"))
        request_id = next((header.value for header in http.headers if header.key.lower() == "x-request-id"), "")
        if isinstance(found, Imported) and request_id:
            call = (request_id, http.method, http.url, found.destination.address)
            if self._pairs.is_second(call, inbound=found.inbound):
                return Unused("the other side of a call that is counted")
        return found

    def _connection(self, flow: _Flow, tcp: _Tcp, verdict: Verdict) -> Record:
        if tcp.flags is not None and (not tcp.flags.SYN or tcp.flags.ACK):
            return Unused("not the beginning of a connection")
        found = checked(_imported(flow, tcp.destination_port, "tcp", verdict))
        if isinstance(found, Imported):
            ends = (found.source.address, tcp.source_port, found.destination.address, tcp.destination_port)
            if self._once.is_again((*ends, verdict, found.at_ms // _SAME_CONNECTION_MS)):
                return Unused("a connection that is counted")
        return found


def _imported(
    flow: _Flow, port: int, protocol: str, verdict: Verdict, host: str = "", method: str = "", path: str = ""
) -> Imported:
    ip = flow.IP or _Ip()
    service = flow.destination_service
    named = f"{service.name}.{service.namespace}.svc" if service is not None and service.name and service.namespace else ""
    known = named or host or (flow.destination_names[0].lower().rstrip(".") if flow.destination_names else "")
    return Imported(
        source=_end(flow.source, ip.source),
        destination=_end(flow.destination, ip.destination, known),
        port=port,
        protocol=protocol,
        verdict=verdict,
        inbound=flow.traffic_direction == "INGRESS",
        at_ms=time_ms(flow.time),
        method=method,
        path=path,
        reason=flow.drop_reason_desc if verdict is Verdict.DENIED else "",
    )


def _end(endpoint: _Endpoint | None, address: str, host: str = "") -> End:
    if endpoint is None:
        return End(address=address, host=host)
    labels = dict(label.removeprefix("k8s:").split("=", 1) for label in endpoint.labels if "=" in label)
    workload = endpoint.workloads[0].name if endpoint.workloads else workload_of_pod(endpoint.pod_name)
    return End(
        namespace=endpoint.namespace or labels.get(_NAMESPACE, ""),
        account=labels.get(_ACCOUNT, ""),
        app=next((labels[name] for name in _APP_LABELS if labels.get(name)), ""),
        workload=workload,
        address=address,
        host=host,
    )
