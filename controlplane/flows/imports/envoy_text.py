"""Istio's access log in its default text format, a line each. Pure.

Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from controlplane.flows.imports.model import End, Record, Unused
from controlplane.flows.imports.proxied import Entry, Reading, time_ms

# Texts in between (user agents and such) are whatever a client sent: only both ends of the line are read.
_HEAD = re.compile(
    r'\[(?P<time>[^\]\s]{1,40})\] "(?P<method>\S{1,64}) (?P<path>\S*) (?P<version>[^"\s]*)" [0-9]{1,3} \S+ (?P<details>\S+)'
)
_TAIL = re.compile(
    r'"(?P<request>[^"]*)" "(?P<authority>[^"]*)" "(?P<upstream>[^"]*)" (?P<cluster>\S+) \S+ (?P<local>\S+) (?P<remote>\S+) '
    r"(?P<name>\S+) \S+\Z"
)
_TERMINATION = re.compile(r"rbac_access_denied\S*")


class TextLog:
    """Parses the lines of one log; ``reporter`` is whose it is, where that is known."""

    def __init__(self, reporter: End | None = None) -> None:
        self._reading = Reading()
        self._reporter = reporter

    def __call__(self, line: bytes) -> Iterator[Record]:
        """What a line tells."""
        text = line.decode("utf-8", "replace").rstrip()
        head = _HEAD.match(text)
        if head is None:
            yield Unused("not a line of this format")
            return
        tail = _TAIL.search(text, head.end())
        if tail is None:
            yield Unused("a format without clusters and addresses")
            return
        yield self._reading.record(_entry(text, head, tail), self._reporter)


def _entry(text: str, head: re.Match[str], tail: re.Match[str]) -> Entry:
    method = _given(head["method"])
    details = head["details"]
    if not method:
        # A connection's denial stands in the field after that of requests.
        ended = _TERMINATION.match(text, head.end() + 1)
        details = ended[0] if ended is not None else details
    return Entry(
        at_ms=time_ms(head["time"]),
        method=method,
        path=_given(head["path"]),
        version=_given(head["version"]),
        cluster=_given(tail["cluster"]),
        upstream=_given(tail["upstream"]),
        local=_given(tail["local"]),
        remote=_given(tail["remote"]),
        authority=_given(tail["authority"]),
        server_name=_given(tail["name"]),
        request_id=_given(tail["request"]),
        details=_given(details),
    )


def _given(text: str) -> str:
    return "" if text == "-" else text
