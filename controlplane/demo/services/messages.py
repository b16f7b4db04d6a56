"""What the demo and its applications tell each other, as values and as JSON lines. Never opens a connection."""

from __future__ import annotations

import enum
import re

import msgspec

#: Longest line either side reads: an application's answer holds a marker for each call that reached it.
MAX_LINE_BYTES = 16 * 1024 * 1024
#: Where HTTP and gRPC carry the marker.
MARKER_HEADER = "x-picket-marker"
_MARKER = re.compile(rb"picket-[0-9a-f]{8}-[0-9]{1,9}")


def find_marker(data: bytes) -> str:
    """The first marker in what arrived; empty when there is none."""
    found = _MARKER.search(data)
    return found[0].decode() if found else ""


class Served(msgspec.Struct, frozen=True):
    """One port to serve. ``cert_file`` and ``key_file`` (PEM) are for https and tls."""

    number: int
    protocol: str
    bind: str
    bind_port: int
    cert_file: str = ""
    key_file: str = ""


class Spec(msgspec.Struct, frozen=True):
    """What one application is. ``user`` and ``group`` are taken on at the start, where they are not negative.

    ``controller`` is the user who may give orders on the socket ``control``, besides the application's own.
    """

    service: str
    control: str
    controller: int
    ports: list[Served]
    user: int = -1
    group: int = -1


class Call(msgspec.Struct, frozen=True, tag="call"):
    """An order: call something once, on a connection of its own.

    ``address`` is dialled; ``host`` is the name that HTTP, gRPC and TLS say. ``authority_file`` (PEM) is whom https believes.
    ``identity_file`` (PEM: key and chain) and ``peers_file`` (PEM: roots) wrap the connection into the mesh's TLS, as a thief
    of that identity would. ``source_address`` is where the connection comes from, where that matters.
    """

    id: int
    address: str
    port: int
    protocol: str
    marker: str
    host: str = ""
    method: str = ""
    path: str = ""
    timeout_seconds: float = 10.0
    authority_file: str = ""
    identity_file: str = ""
    peers_file: str = ""
    source_address: str = ""


class Ask(msgspec.Struct, frozen=True, tag="received"):
    """An order: say what has arrived so far."""

    id: int


Order = Call | Ask


class Result(enum.StrEnum):
    """How a call ended."""

    ANSWERED = "answered"  # the exchange went through as the protocol has it
    DECLINED = "declined"  # an answer came, and it says no
    CLOSED = "closed"  # the connection ended without an answer
    UNREACHABLE = "unreachable"  # there was no connection
    TIMEOUT = "timeout"  # nothing happened in time


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How a call ended, as the caller saw it."""

    id: int
    result: Result
    detail: str = ""


class Received(msgspec.Struct, frozen=True, tag="received"):
    """What has arrived: calls by marker, and how many arrived at a port without any."""

    id: int
    marked: dict[str, int]
    unmarked: dict[int, int]


Answer = Outcome | Received
