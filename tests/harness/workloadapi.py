"""A SPIFFE Workload API of our own on a Unix socket, in this process: it answers what a test says.

Real SPIRE is in `tests/spire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.identity.authority import CertificateAuthority, Svid
from controlplane.identity.spiffe import parse_uri
from protos.spiffe.workload_pb2 import X509SVID, X509SVIDRequest, X509SVIDResponse
from tests.harness.mesh import new_key


def der(pem: bytes) -> bytes:
    """Certificates (PEM) as the API sends them: DER, one after the other."""
    return b"".join(found.public_bytes(serialization.Encoding.DER) for found in x509.load_pem_x509_certificates(pem))


def svid(
    authority: CertificateAuthority, uri: str, *, hint: str = "", lifetime: timedelta = timedelta(hours=1), roots: bytes = b""
) -> X509SVID:
    """An identity of a workload; ``roots`` (PEM) stand beside the authority's own."""
    key, csr = new_key()
    signed = authority.sign(csr, parse_uri(uri, authority.trust_domain), lifetime, datetime.now(UTC))
    assert isinstance(signed, Svid)
    return _packed(uri, signed.chain_pem, key, der(authority.bundle_pem + roots), hint)


def server_svid(authority: CertificateAuthority, names: tuple[str, ...], *, lifetime: timedelta = timedelta(hours=1)) -> X509SVID:
    """An identity of a control plane: its certificate has DNS names, too."""
    key, chain = authority.issue_server(names, lifetime, datetime.now(UTC))
    return _packed(f"spiffe://{authority.trust_domain}/picket/controlplane", chain, key, der(authority.bundle_pem), "")


def _packed(uri: str, chain: bytes, key_pem: bytes, bundle: bytes, hint: str) -> X509SVID:
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    packed = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return X509SVID(spiffe_id=uri, x509_svid=der(chain), x509_svid_key=packed, bundle=bundle, hint=hint)


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
