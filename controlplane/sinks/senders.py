"""Sends a batch of events once, by each kind of sink. Never tries again, and knows no queue."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from controlplane.httpcall import TIMEOUT_SECONDS, CallError, call, tls
from controlplane.sinks import formats
from controlplane.sinks.document import SinkSettings
from controlplane.sinks.event import Event

#: Answers after which the same may be taken later.
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
Send = Callable[[Sequence[Event]], None]


class NotSentError(Exception):
    """It was not sent; the message holds no secret. With ``later`` it may be at another time."""

    def __init__(self, reason: str, *, later: bool = True) -> None:
        super().__init__(reason)
        self.later = later


def sender(settings: SinkSettings) -> Send:
    """What sends to a sink; raises `NotSentError`."""
    match settings.kind:
        case "webhook":
            return lambda events: _webhook(settings, formats.to_json(events))
        case "slack":
            return lambda events: _post(settings, formats.to_slack(events), {})
        case "otlp":
            bearer = {"Authorization": f"Bearer {settings.secret}"} if settings.secret else {}
            return lambda events: _post(settings, formats.to_otlp(events), bearer)
        case "syslog":
            return lambda events: _syslog(settings, events)
        case "file":
            return lambda events: _append(settings.to, formats.to_lines(events))


def _webhook(settings: SinkSettings, body: bytes) -> None:
    timestamp = int(time.time())
    signed = {
        "X-Picket-Timestamp": str(timestamp),
        "X-Picket-Signature": formats.signature(settings.secret, timestamp, body),
        "X-Picket-Delivery": str(uuid.uuid4()),
    }
    _post(settings, body, signed)


def _post(settings: SinkSettings, body: bytes, headers: Mapping[str, str]) -> None:
    try:
        answered = call(settings.to, "POST", body, {"Content-Type": "application/json", **headers}, settings.ca_file)
    except CallError as error:
        raise NotSentError(str(error)) from error
    if not 200 <= answered.status < 300:
        later = answered.status >= 500 or answered.status in _LATER
        raise NotSentError(f"{settings.shown} answered with HTTP status {answered.status}", later=later)


def _syslog(settings: SinkSettings, events: Sequence[Event]) -> None:
    parts = urlsplit(settings.to)
    place = (str(parts.hostname), int(parts.port or 0))
    lines = [formats.to_cef(event, socket.gethostname()) for event in events]
    try:
        if parts.scheme == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as datagrams:
                for line in lines:
                    datagrams.sendto(line, address)
            return
        framed = b"".join(f"{len(line)} ".encode() + line for line in lines)
        with socket.create_connection(place, TIMEOUT_SECONDS) as plain:
            if parts.scheme == "tcp":
                plain.sendall(framed)
            else:
                with tls(settings.ca_file).wrap_socket(plain, server_hostname=place[0]) as encrypted:
                    encrypted.sendall(framed)
    except (OSError, CallError) as error:
        raise NotSentError(f"{settings.shown} does not take it: {getattr(error, 'strerror', None) or error}") from error


def _append(path: str, lines: bytes) -> None:
    """The file is opened anew each time: whoever rotates it may rename it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(lines)
    except OSError as error:
        raise NotSentError(f"{path}: {error.strerror}") from error
