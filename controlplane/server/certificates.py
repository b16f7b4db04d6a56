"""The certificates service: trades join tokens and proven identities for SVIDs. Never sees a private key.

`Enroll` stands on a listener without client certificates, `Renew` only where the peer proved who it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import structlog

from controlplane.identity.authority import BadCsr, CertificateAuthority
from controlplane.identity.spiffe import WorkloadId
from controlplane.server.authentication import Authenticator, Unauthenticated
from protos.picket.v1 import certificates_pb2

SERVICE = "picket.v1.Certificates"
MAX_TOKEN_CHARACTERS = 256
_log = structlog.get_logger("picket.certificates")

Admit = Callable[[str], Awaitable[WorkloadId | None]]


class Certificates:
    """Signs for whom ``admit`` (a join token) or the connection (renewal) speaks."""

    def __init__(
        self,
        authority: CertificateAuthority,
        authenticator: Authenticator,
        admit: Admit,
        lifetime: timedelta,
        issued: Callable[[str], None],
    ) -> None:
        self._authority = authority
        self._authenticator = authenticator
        self._admit = admit
        self._lifetime = lifetime
        self._issued = issued

    def enrollment_handlers(self) -> grpc.GenericRpcHandler:
        """`Enroll` only."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Enroll": grpc.unary_unary_rpc_method_handler(
                    self._enroll,
                    request_deserializer=certificates_pb2.EnrollRequest.FromString,
                    response_serializer=certificates_pb2.Svid.SerializeToString,
                )
            },
        )

    def mesh_handlers(self) -> grpc.GenericRpcHandler:
        """`Renew` only."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Renew": grpc.unary_unary_rpc_method_handler(
                    self._renew,
                    request_deserializer=certificates_pb2.RenewRequest.FromString,
                    response_serializer=certificates_pb2.Svid.SerializeToString,
                )
            },
        )

    async def _enroll(
        self, request: certificates_pb2.EnrollRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> certificates_pb2.Svid:
        if not request.join_token or len(request.join_token) > MAX_TOKEN_CHARACTERS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "join_token: empty or longer than 256 characters")
        # A request that cannot be signed must not use the token up.
        trial = self._authority.sign(request.csr_der, WorkloadId("check", "check"), self._lifetime, datetime.now(UTC))
        if isinstance(trial, BadCsr):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"csr_der: {trial.reason}")
        workload = await self._admit(request.join_token)
        if workload is None:
            _log.warning("enrollment refused", peer=context.peer(), reason="unknown, used or expired join token")
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "the join token is unknown, used or expired; make one with `picket token`"
            )
            raise AssertionError("abort returns never")
        return await self._sign(request.csr_der, workload, "enroll", context)

    async def _renew(
        self, request: certificates_pb2.RenewRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> certificates_pb2.Svid:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
            raise AssertionError("abort returns never")
        return await self._sign(request.csr_der, peer.workload, "renew", context)

    async def _sign(
        self, csr_der: bytes, workload: WorkloadId, how: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> certificates_pb2.Svid:
        signed = self._authority.sign(csr_der, workload, self._lifetime, datetime.now(UTC))
        if isinstance(signed, BadCsr):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"csr_der: {signed.reason}")
            raise AssertionError("abort returns never")
        self._issued(how)
        _log.info("certificate issued", workload=str(workload), how=how, not_after=signed.not_after.isoformat())
        return certificates_pb2.Svid(
            spiffe_id=signed.spiffe_id,
            certificate_chain_pem=signed.chain_pem,
            bundle_pem=self._authority.bundle_pem,
            not_before_seconds=int(signed.not_before.timestamp()),
            not_after_seconds=int(signed.not_after.timestamp()),
        )
