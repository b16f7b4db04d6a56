"""Who the peer of a gRPC call is: taken from the certificate that TLS verified, never from a message.

Source: https://grpc.github.io/grpc/core/md_doc_ssl-performance.html (auth context properties of the TLS transport)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509

from controlplane.identity.generations import issuer_id
from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_uri

#: With --insecure (loopback or Unix socket only) the peer says who it is in this metadata key.
INSECURE_PEER_KEY = "picket-insecure-peer"
MAX_NODE_CHARACTERS = 512
MAX_INSTANCE_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer proved this identity. It lasts until ``expires_seconds`` (Unix time), ``None`` where nothing was proved by TLS.

    ``issuer`` names the key that signed its certificate, empty where nothing was proved.
    """

    workload: WorkloadId
    expires_seconds: float | None = None
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """The peer proved nothing that counts here; ``reason`` says what was wrong."""

    reason: str


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Reads identities of one trust domain. ``clock`` gives Unix seconds."""

    trust_domain: str
    insecure: bool = False
    clock: Callable[[], float] = time.time

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
        certificate = _certificate(properties.get("x509_pem_cert", ()))
        if certificate is None:
            return Unauthenticated("the client certificate does not read")
        expires_seconds = certificate.not_valid_after_utc.timestamp()
        # TLS looked when the connection began; connections live longer than certificates.
        if expires_seconds <= self.clock():
            return Unauthenticated("the client certificate has expired since the connection began; connect again with a new one")
        return self._read(uris[0], expires_seconds, issuer_id(certificate))

    def _claimed(self, context: grpc.aio.ServicerContext[Any, Any]) -> Authenticated | Unauthenticated:
        for key, value in context.invocation_metadata() or ():
            if key == INSECURE_PEER_KEY:
                return self._read(value if isinstance(value, str) else value.decode("utf-8", "replace"), None)
        return Unauthenticated(f"insecure mode wants the metadata key {INSECURE_PEER_KEY}")

    def _read(self, uri: str, expires_seconds: float | None, issuer: str = "") -> Authenticated | Unauthenticated:
        try:
            return Authenticated(parse_uri(uri[:MAX_NODE_CHARACTERS], self.trust_domain), expires_seconds, issuer)
        except SpiffeError as error:
            return Unauthenticated(str(error))


def _certificate(certificates: Iterable[bytes]) -> x509.Certificate | None:
    """The first certificate (PEM)."""
    try:
        return x509.load_pem_x509_certificate(next(iter(certificates), b""))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Node:
    """What a node ID ``sidecar~namespace/account~instance`` claims."""

    workload: str
    instance: str


def read_node(node_id: str) -> Node | None:
    """Read a node ID; ``None`` for another shape, control characters or a text without bounds."""
    parts = node_id.split("~") if len(node_id) <= MAX_NODE_CHARACTERS and node_id.isprintable() else []
    if len(parts) != 3 or parts[0] != "sidecar" or not parts[2] or len(parts[2]) > MAX_INSTANCE_CHARACTERS:
        return None
    return Node(parts[1], parts[2])
