"""Who the peer of a gRPC call is: taken from the certificate that TLS verified, never from a message.

Source: https://grpc.github.io/grpc/core/md_doc_ssl-performance.html (auth context properties of the TLS transport)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_uri

#: With --insecure (loopback or Unix socket only) the peer says who it is in this metadata key.
INSECURE_PEER_KEY = "picket-insecure-peer"


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer proved this identity."""

    workload: WorkloadId


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """The peer proved nothing that counts here; ``reason`` says what was wrong."""

    reason: str


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Reads identities of one trust domain."""

    trust_domain: str
    insecure: bool = False

    def peer(self, context: grpc.aio.ServicerContext[Any, Any]) -> Authenticated | Unauthenticated:
        """The identity behind a call."""
        if self.insecure:
            return self._claimed(context)
        properties = context.auth_context()
        uris = [value.decode("utf-8", "replace") for value in properties.get("peer_uri", ())]
        uris = uris or [value.decode("utf-8", "replace") for value in properties.get("peer_spiffe_id", ())]
        if not uris:
            return Unauthenticated("the client certificate has no URI name; enroll the sidecar with a join token")
        if len(uris) > 1:
            return Unauthenticated("the client certificate has more than one URI name")
        return self._read(uris[0])

    def _claimed(self, context: grpc.aio.ServicerContext[Any, Any]) -> Authenticated | Unauthenticated:
        for key, value in context.invocation_metadata() or ():
            if key == INSECURE_PEER_KEY:
                return self._read(value if isinstance(value, str) else value.decode("utf-8", "replace"))
        return Unauthenticated(f"insecure mode wants the metadata key {INSECURE_PEER_KEY}")

    def _read(self, uri: str) -> Authenticated | Unauthenticated:
        try:
            return Authenticated(parse_uri(uri, self.trust_domain))
        except SpiffeError as error:
            return Unauthenticated(str(error))


def node_workload(node_id: str) -> str:
    """The ``namespace/account`` in a node ID ``sidecar~namespace/account~instance``; empty when it has another shape."""
    parts = node_id.split("~")
    return parts[1] if len(parts) == 3 and parts[0] == "sidecar" else ""
