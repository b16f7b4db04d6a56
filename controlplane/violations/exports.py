"""Violations as files of other programs: CSV, NDJSON, and OCSF events of class Network Activity. Pure; a line at a time.

Source: https://schema.ocsf.io/1.3.0/classes/network_activity?profiles=security_control
"""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from controlplane.flows.model import Verdict, Violation

OCSF_VERSION = "1.3.0"
_CATEGORY, _CLASS = 4, 4001
_REFUSE, _TRAFFIC = 5, 6
_ADDRESS = "ip:"
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Format(enum.StrEnum):
    """What is written."""

    CSV = "csv"
    NDJSON = "ndjson"
    OCSF = "ocsf"


#: What a program that gets the file is told that it is.
MEDIA_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.NDJSON: "application/x-ndjson",
    Format.OCSF: "application/x-ndjson",
}
COLUMNS = (
    "id", "first_seen", "last_seen", "verdict", "source", "destination", "port", "protocol", "method", "path", "count", "deny_id",
    "reason", "reporter", "direction", "host", "server_name", "peer_address",
)  # fmt: skip


def lines(violations: Iterable[Violation], form: Format, version: str) -> Iterator[bytes]:
    """The file's lines, each with its end; ``version`` is Picket's."""
    match form:
        case Format.CSV:
            yield _csv_line(COLUMNS)
            for violation in violations:
                row = plain(violation)
                yield _csv_line([_cell(row[name]) for name in COLUMNS])
        case Format.NDJSON:
            for violation in violations:
                yield _json_line(plain(violation))
        case Format.OCSF:
            for violation in violations:
                yield _json_line(ocsf(violation, version))


def plain(violation: Violation) -> dict[str, Any]:
    """All that is known of one, by the names that the API uses; times as text (UTC), too."""
    names = ("reason", "reporter", "direction", "host", "server_name", "peer_address", "deny_id", "count")
    return {
        "id": violation.id, "first_seen": _time(violation.first_seen_ms), "last_seen": _time(violation.last_seen_ms),
        "verdict": str(violation.verdict), **violation.edge._asdict(), **{name: getattr(violation, name) for name in names},
        "first_seen_ms": violation.first_seen_ms, "last_seen_ms": violation.last_seen_ms,
    }  # fmt: skip


def ocsf(violation: Violation, version: str) -> dict[str, Any]:
    """One as an event of class 4001: refused, and blocked, or traffic that is only reported."""
    edge, is_denied = violation.edge, violation.verdict is Verdict.DENIED
    activity = _REFUSE if is_denied else _TRAFFIC
    policy, _, revision = violation.deny_id.partition("@r")
    event: dict[str, Any] = {
        "metadata": {
            "version": OCSF_VERSION, "product": {"name": "Picket", "vendor_name": "Picket", "version": version},
            "profiles": ["security_control"], "uid": str(violation.id), "log_name": "violations",
        },
        "category_uid": _CATEGORY, "category_name": "Network Activity", "class_uid": _CLASS, "class_name": "Network Activity",
        "activity_id": activity, "activity_name": "Refuse" if is_denied else "Traffic", "type_uid": _CLASS * 100 + activity,
        "severity_id": 3 if is_denied else 2, "severity": "Medium" if is_denied else "Low",
        "time": violation.last_seen_ms, "start_time": violation.first_seen_ms, "end_time": violation.last_seen_ms,
        "count": violation.count, "message": f"{edge.source} -> {edge.destination}:{edge.port} {violation.verdict}",
        "action_id": 2 if is_denied else 1, "action": "Denied" if is_denied else "Allowed",
        "disposition_id": 2 if is_denied else 15, "disposition": "Blocked" if is_denied else "Detected",
        "src_endpoint": _endpoint(edge.source, violation.peer_address),
        "dst_endpoint": {"svc_name": edge.destination, "port": edge.port},
        "connection_info": {
            "protocol_name": "tcp", "protocol_num": 6, "direction_id": 1 if violation.direction == "in" else 2,
            "direction": "Inbound" if violation.direction == "in" else "Outbound",
        },
        "unmapped": {
            "protocol": edge.protocol, "method": edge.method, "path": edge.path, "deny_id": violation.deny_id,
            "server_name": violation.server_name, "reason": violation.reason, "reporter": violation.reporter,
        },
    }  # fmt: skip
    if violation.host:
        event["dst_endpoint"]["hostname"] = violation.host
    if policy:
        event["policy"] = {"name": policy, "uid": violation.deny_id, "version": revision.partition("/")[0]}
    return event


def _endpoint(source: str, peer_address: str) -> dict[str, str]:
    if source.startswith(_ADDRESS):
        return {"ip": source.removeprefix(_ADDRESS)}
    return {"svc_name": source} | ({"ip": peer_address} if peer_address else {})


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _csv_line(cells: Iterable[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: object) -> str:
    """A cell that no spreadsheet computes: names and paths are whatever a caller sent.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
