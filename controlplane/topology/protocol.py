"""What a declared protocol means for a proxy. Never looks at bytes."""

from __future__ import annotations

import enum

_DATASTORES = frozenset(
    {"mysql", "mariadb", "postgres", "postgresql", "redis", "mongo", "mongodb", "cassandra", "memcached", "mssql", "elasticsearch"}
)
_SERVER_FIRST = frozenset({"mysql", "mariadb", "smtp", "ftp", "ssh", "imap", "pop3", "nats", "vnc"})


class Handling(enum.StrEnum):
    """How Envoy handles a port."""

    HTTP = "http"  # HTTP/1.1, HTTP/2 or gRPC, told apart by the connection preface
    OPAQUE = "opaque"  # bytes: one decision per connection
    INSPECT = "inspect"  # not declared: the listener looks at the first bytes


def handling(protocol: str) -> Handling:
    """How a port of this declared protocol is handled; everything that is neither HTTP nor gRPC is opaque."""
    if protocol in {"http", "http2", "grpc"}:
        return Handling.HTTP
    if protocol == "auto":
        return Handling.INSPECT
    return Handling.OPAQUE


def is_datastore(protocol: str) -> bool:
    """Whether whoever speaks it keeps data."""
    return protocol in _DATASTORES


def server_speaks_first(protocol: str) -> bool:
    """Whether the client waits for the server's greeting, so that no inspector may wait for the client."""
    return protocol in _SERVER_FIRST
