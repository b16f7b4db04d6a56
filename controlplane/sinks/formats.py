"""Events as the bytes that others read: JSON, a Slack message, CEF in syslog lines, OTLP logs. Pure; sends nothing.

Sources: https://www.microfocus.com/documentation/arcsight/arcsight-smartconnectors-8.4/cef-implementation-standard/,
https://www.rfc-editor.org/rfc/rfc5424, https://opentelemetry.io/docs/specs/otlp/#otlphttp,
https://api.slack.com/reference/surfaces/formatting#escaping
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import msgspec

from controlplane import __version__
from controlplane.sinks.event import Event, Kind

#: Lines of one message to people; what is more is counted.
MAX_LINES = 10
#: "Alert" of facility "log audit"; "notice" where nothing was dropped.
_DENIED_PRIORITY, _PRIORITY = 13 * 8 + 4, 13 * 8 + 5
#: A datagram of syslog that every receiver takes (RFC 5426 asks for 2,048 at most without a reason).
MAX_LINE_BYTES = 2048


def to_object(event: Event) -> dict[str, Any]:
    """An event as JSON has it."""
    return {"event": str(event.kind), "id": event.id, "at_ms": event.at_ms, "summary": event.summary, **event.fields}


def to_json(events: Sequence[Event]) -> bytes:
    """A webhook's body."""
    return msgspec.json.encode({"source": "picket", "version": __version__, "events": [to_object(event) for event in events]})


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """What proves that a body comes from here, and when: HMAC-SHA256 over ``TIMESTAMP.BODY``, in hex after its version."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def to_lines(events: Sequence[Event]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(to_object(event)) + b"\n" for event in events)


def to_slack(events: Sequence[Event]) -> bytes:
    """One message, incidents first."""
    ordered = sorted(events, key=lambda event: event.kind is Kind.VIOLATION)
    lines = [f"{'*' if event.kind is not Kind.VIOLATION else ''}{_slack(event)}" for event in ordered[:MAX_LINES]]
    more = len(events) - MAX_LINES
    if more > 0:
        lines.append(f"and {more} more")
    return msgspec.json.encode({"text": "\n".join(lines)})


def _slack(event: Event) -> str:
    text = event.summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    count = event.fields.get("count", 1)
    times = f" ({count} times)" if count != 1 else ""
    return f"{text}{times}" if event.kind is Kind.VIOLATION else f"{text}*{times}"


def to_cef(event: Event, host: str) -> bytes:
    """One syslog line that carries CEF, without its framing."""
    blocked = "Connection denied" if event.denied else "Connection would be denied"
    name = {Kind.VIOLATION: blocked, Kind.PROOF_FAILED: "Enforcement failed"}.get(event.kind, "Incident")
    severity = 8 if event.kind is not Kind.VIOLATION else 6 if event.denied else 3
    header = "|".join(_cef_header(part) for part in ("Picket", "Picket", __version__, str(event.kind), name, str(severity)))
    pairs: dict[str, str] = {"rt": str(event.at_ms), "externalId": str(event.id), "cnt": str(event.fields.get("count", 1))}
    fields = {key: str(value) for key, value in event.fields.items()}
    if event.kind is Kind.VIOLATION:
        pairs |= {
            "act": fields["verdict"], "suser": fields["source"], "dhost": fields["destination"], "dpt": fields["port"],
            "app": fields["protocol"], "requestMethod": fields["method"], "request": fields["path"], "reason": fields["reason"],
            "cs1Label": "denyId", "cs1": fields["deny_id"], "cs2Label": "reporter", "cs2": fields["reporter"],
            "start": fields["first_seen_ms"], "end": fields["last_seen_ms"],
        }  # fmt: skip
        if (source := _address(fields["peer_address"])) is not None:
            pairs["src"] = source
    elif event.kind is Kind.PROOF_FAILED:
        pairs |= {"suser": fields["source"], "dhost": fields["destination"], "dpt": fields["port"], "reason": fields["reason"]}
        pairs["dst"] = fields["address"]
    else:
        pairs |= {"cat": fields["incident"], "cs1Label": "sources", "cs1": fields["sources"], "cs2Label": "places"}
        pairs |= {"cs2": fields["places"], "start": fields["first_seen_ms"], "end": fields["last_seen_ms"]}
    pairs["msg"] = event.summary
    extension = " ".join(f"{key}={_cef_value(value)}" for key, value in pairs.items() if value)
    priority = _DENIED_PRIORITY if event.denied else _PRIORITY
    at = datetime.fromtimestamp(event.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    line = f"<{priority}>1 {at}Z {host} picket - {event.kind} - CEF:0|{header}|{extension}".encode()
    return line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES].decode(errors="ignore").encode()


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _cef_header(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("=", "\\=")


def _one_line(text: str) -> str:
    """What callers sent can hold anything: a control character would begin another line at the receiver."""
    return "".join(character if character.isprintable() else " " for character in text)


def to_otlp(events: Sequence[Event]) -> bytes:
    """A request of OTLP/HTTP, in JSON."""
    records = [
        {
            "timeUnixNano": str(event.at_ms * 1_000_000),
            "severityNumber": 13 if event.denied else 9,
            "severityText": "WARN" if event.denied else "INFO",
            "eventName": f"picket.{event.kind}",
            "body": {"stringValue": event.summary},
            "attributes": [_attribute(f"picket.{name}", value) for name, value in {"id": event.id, **event.fields}.items()],
        }
        for event in events
    ]
    scope = {"scope": {"name": "picket", "version": __version__}, "logRecords": records}
    resource = {"attributes": [_attribute("service.name", "picket"), _attribute("service.version", __version__)]}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
