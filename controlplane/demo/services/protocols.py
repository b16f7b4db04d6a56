"""Which exchange a declared protocol means. Never opens a connection."""

from __future__ import annotations

from controlplane.demo.services.datastores import MONGO, POSTGRES, REDIS
from controlplane.demo.services.exchange import LINES, Exchange
from controlplane.demo.services.framed import AMQP, KAFKA, THRIFT
from controlplane.demo.services.greeting import SERVER_FIRST

#: HTTP/1.1 also where HTTP/2 is declared: every proxy takes both on such a port.
HTTP = frozenset({"http", "http2", "https"})
GRPC = "grpc"
#: Protocols that begin with a TLS handshake of the application's own.
TLS = frozenset({"https", "tls"})

_EXCHANGES = {
    **SERVER_FIRST,
    "redis": REDIS,
    "postgres": POSTGRES,
    "postgresql": POSTGRES,
    "mongo": MONGO,
    "mongodb": MONGO,
    "kafka": KAFKA,
    "amqp": AMQP,
    "thrift": THRIFT,
}


def exchange_of(protocol: str) -> Exchange:
    """The exchange of an opaque protocol; lines of text where the name is not known."""
    return _EXCHANGES.get(protocol, LINES)
