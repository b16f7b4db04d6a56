"""What a port of a Kubernetes service speaks, by what its owner says of it. Pure; never looks at bytes.

`appProtocol` counts first, then the port's name (``http``, ``grpc-api``), then the number where servers are known to speak
first. What nobody says is looked at on the wire.
Source: https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol
"""

from __future__ import annotations

from collections.abc import Mapping

#: What Picket calls what `appProtocol` and names say. Others than these say nothing.
_SPOKEN: Mapping[str, str] = {
    "http": "http", "http2": "http2", "h2c": "http2", "grpc": "grpc", "grpc-web": "http", "ws": "http", "wss": "https",
    "https": "https", "tls": "tls", "tcp": "tcp", "mysql": "mysql", "mariadb": "mariadb", "redis": "redis", "mongo": "mongo",
    "mongodb": "mongodb", "postgres": "postgres", "postgresql": "postgresql", "cassandra": "cassandra", "memcached": "memcached",
    "mssql": "mssql", "elasticsearch": "http", "smtp": "smtp", "ftp": "ftp", "ssh": "ssh", "imap": "imap", "pop3": "pop3",
    "nats": "nats", "kafka": "tcp", "amqp": "tcp",
}  # fmt: skip
#: Bytes unless somebody says otherwise: the server speaks first there, or nothing that begins as HTTP does.
OPAQUE_PORTS: Mapping[int, str] = {
    25: "smtp", 587: "smtp", 3306: "mysql", 4444: "tcp", 5432: "postgresql", 6379: "redis", 9300: "tcp", 11211: "memcached",
}  # fmt: skip


def protocol_of(number: int, target: int, name: str | None, app_protocol: str | None) -> str:
    """The protocol of a port, as `topology.protocol` knows it; ``auto`` where nothing says it."""
    for said in ((app_protocol or "").lower().removeprefix("kubernetes.io/"), (name or "").lower()):
        found = _SPOKEN.get(said) or _SPOKEN.get(said.partition("-")[0])
        if found is not None:
            return found
    return OPAQUE_PORTS.get(target) or OPAQUE_PORTS.get(number) or "auto"
