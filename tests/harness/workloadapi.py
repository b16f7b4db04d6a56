"""A SPIFFE Workload API of our own on a Unix socket, in this process: it answers what a test says.

Real SPIRE is in `tests/spire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.identity.authority import CertificateAuthority
from controlplane.identity.cacertificates import issuer_key
from protos.spiffe.workload_pb2 import X509SVID, X509SVIDRequest, X509SVIDResponse


def der(pem: bytes) -> bytes:
    """Certificates (PEM) as the API sends them: DER, one after the other."""
    return b"".join(found.public_bytes(serialization.Encoding.DER) for found in x509.load_pem_x509_certificates(pem))


def svid(
    authority: CertificateAuthority,
    uri: str,
    *,
    hint: str = "",
    lifetime: timedelta = timedelta(hours=1),
    dns: Sequence[str] = (),
    roots: bytes = b"",
) -> X509SVID:
    """An identity, with its key; ``roots`` (PEM) stand beside the authority's own."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = [x509.UniformResourceIdentifier(uri), *map(x509.DNSName, dns)]
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SPIRE")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=10))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(issuer_key(authority.certificate), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return X509SVID(
        spiffe_id=uri,
        x509_svid=leaf.public_bytes(serialization.Encoding.DER),
        x509_svid_key=key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        bundle=der(authority.bundle_pem + roots),
        hint=hint,
    )


def answer(*svids: X509SVID) -> bytes:
    """What is sent, serialised."""
    return X509SVIDResponse(svids=svids).SerializeToString()


@dataclass
class Api:
    """The API: `give` changes what is answered, to those that listen already, too. ``asked`` counts streams."""

    path: Path
    asked: int = 0
    _said: bytes | grpc.StatusCode = grpc.StatusCode.PERMISSION_DENIED
    _changed: asyncio.Event | None = None
    _server: grpc.aio.Server | None = None

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        return f"unix:{self.path}"

    def give(self, said: bytes | grpc.StatusCode | Iterable[X509SVID]) -> None:
        """Answer this from now on: bytes, a refusal, or identities."""
        self._said = said if isinstance(said, bytes | grpc.StatusCode) else answer(*said)
        changed, self._changed = self._changed, asyncio.Event()
        if changed is not None:
            changed.set()

    async def start(self) -> None:
        """Listen."""
        self._changed = self._changed or asyncio.Event()
        server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
            self._fetch, request_deserializer=X509SVIDRequest.FromString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": handler}),))
        server.add_insecure_port(self.target)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every stream and the socket, as an API that goes away."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self.path.unlink(missing_ok=True)

    async def _fetch(self, _request: X509SVIDRequest, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        self.asked += 1
        if ("workload.spiffe.io", "true") not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        while True:
            said, changed = self._said, self._changed
            assert changed is not None
            if not isinstance(said, bytes):
                await context.abort(said, "no identity issued")
            yield said
            await changed.wait()


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Api]:
    """An API that is stopped afterwards."""
    api = Api(path)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()
