"""AWS VPC flow logs, version 2 and those whose header says their fields. They know addresses and ports only. Pure.

Source: https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.flows.imports.model import End, Imported, Record, Unused, checked
from controlplane.flows.model import Verdict

_VERSION_2 = (
    "version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets", "bytes", "start",
    "end", "action", "log-status",
)  # fmt: skip
_NEEDED = ("srcaddr", "dstaddr", "srcport", "dstport", "protocol", "end", "action")
_VERDICTS = {"ACCEPT": Verdict.ALLOWED, "REJECT": Verdict.DENIED}
_TCP = "6"
#: Clients' ports, on Linux and by RFC 6335.
_EPHEMERAL = 32768


class VpcLog:
    """Parses the lines of one log."""

    def __init__(self) -> None:
        self._fields: tuple[str, ...] = _VERSION_2

    def __call__(self, line: bytes) -> Iterator[Record]:
        """What a line tells; nothing for the header."""
        parts = tuple(line.decode("ascii", "replace").split())
        if "srcaddr" in parts and "dstaddr" in parts:
            self._fields = parts
            return
        if len(parts) != len(self._fields):
            yield Unused("not a line of this format")
            return
        given = dict(zip(self._fields, parts, strict=True))
        yield _record(given)


def _record(given: dict[str, str]) -> Record:
    if given.get("log-status") in {"NODATA", "SKIPDATA"}:
        return Unused("an interval without data")
    if not all(name in given for name in _NEEDED):
        return Unused("a format without addresses and ports")
    if given["protocol"] != _TCP:
        return Unused("not TCP")
    verdict = _VERDICTS.get(given["action"])
    source_port, port, end = (_number(given[name]) for name in ("srcport", "dstport", "end"))
    if verdict is None or port is None or source_port is None or end is None:
        return Unused("not a line of this format")
    if port >= _EPHEMERAL > source_port:
        return Unused("a reply")
    ends = End(address=given["srcaddr"]), End(address=given["dstaddr"])
    return checked(Imported(*ends, port, "tcp", verdict, inbound=True, at_ms=end * 1000))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
