"""The certificates service: trades join tokens and proven identities for SVIDs. Never sees a private key.

`Enroll` stands on a listener without client certificates, `Renew` only where the peer proved who it is. Certificates are
short-lived, and a workload that left the topology gets no other: that is how an identity ends. Where a platform attests its
workloads they prove themselves anew for each certificate, so that a stolen one is of no use for longer than it lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from controlplane.identity.attestation import Attested, NotAttested, Undecided
from controlplane.identity.authority import BadCsr, Issuer
from controlplane.identity.generations import issuer_ids
from controlplane.identity.spiffe import WorkloadId
from controlplane.server.authentication import Authenticator, Unauthenticated
from controlplane.store.interface import StoreError
from controlplane.workflow.admission import NotAdmitted
from protos.picket.v1.certificates_pb2 import EnrollRequest, RenewRequest, Svid

SERVICE = "picket.v1.Certificates"
MAX_TOKEN_CHARACTERS = 256
_log = structlog.get_logger("picket.certificates")

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)


class Admission(Protocol):
    """Who takes join tokens: `workflow.admission.Admission`."""

    def admit(self, token: str) -> WorkloadId | NotAdmitted:
        """Use a token up, and say whose it was."""


class Attestor(Protocol):
    """Who asks a platform whose token it is: `kubernetes.attestation.TokenReviews`."""

    async def attest(self, token: str) -> Attested | NotAttested | Undecided:
        """Say who the platform knows by a token."""


class Certificates:
    """Signs for whom a join token, an attested one or, for renewal, the connection speaks.

    ``attestor`` is there where a platform attests, and nobody is renewed there. ``known`` says whether the topology has a
    workload; ``issued`` hears how ("enroll", "renew"), ``refused`` peer, claim, reason.
    """

    def __init__(
        self,
        authority: Issuer,
        authenticator: Authenticator,
        admission: Admission,
        lifetime: timedelta,
        known: Callable[[WorkloadId], bool],
        issued: Callable[[str], None],
        refused: Callable[[str, str, str], None],
        attestor: Attestor | None = None,
    ) -> None:
        self._authority = authority
        self._authenticator = authenticator
        self._admission = admission
        self._lifetime = lifetime
        self._known = known
        self._issued = issued
        self._refused = refused
        self._attestor = attestor

    def enrollment_handlers(self) -> grpc.GenericRpcHandler:
        """`Enroll` only."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._enroll, response_serializer=Svid.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Enroll": handler})

    def mesh_handlers(self) -> grpc.GenericRpcHandler:
        """`Renew` only."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._renew, response_serializer=Svid.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Renew": handler})

    async def _enroll(self, body: bytes, context: Context) -> Svid:
        request = await _parsed(EnrollRequest(), body, context)
        if request.WhichOneof("proof") == "service_account_token":
            return await self._attested(request, context)
        if not request.join_token or len(request.join_token) > MAX_TOKEN_CHARACTERS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "join_token: empty or longer than 256 characters")
        # A request that cannot be signed must not use the token up.
        trial = self._authority.sign(request.csr_der, WorkloadId("check", "check"), self._lifetime, datetime.now(UTC))
        if isinstance(trial, BadCsr):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"csr_der: {trial.reason}")
        try:
            workload = await asyncio.to_thread(self._admission.admit, request.join_token)
        except StoreError as error:
            _log.error("enrollment failed", error=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the join token cannot be looked up now; try again")
        if isinstance(workload, NotAdmitted):
            self._refused(context.peer(), "enroll", workload.reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, workload.reason)
        return await self._sign(request.csr_der, workload, "enroll", context)

    async def _attested(self, request: EnrollRequest, context: Context) -> Svid:
        """A certificate for whom the platform knows by the token."""
        if self._attestor is None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "this control plane knows no cluster; start it with --kubernetes, or give the sidecar a join file",
            )
        attested = await self._attestor.attest(request.service_account_token)
        if isinstance(attested, Undecided):
            await context.abort(grpc.StatusCode.UNAVAILABLE, attested.reason)
        if isinstance(attested, NotAttested):
            self._refused(context.peer(), "attest", attested.reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, attested.reason)
        if not self._known(attested.workload):
            # The pod may be newer than what was heard of the cluster.
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{attested.workload} is not known in the mesh yet")
        return await self._sign(request.csr_der, attested.workload, "attest", context, attested)

    async def _renew(self, body: bytes, context: Context) -> Svid:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._refused("", "renew", peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
        # TLS looked when the connection began; a root that was retired since brings nobody another certificate.
        if peer.expires_seconds is not None and peer.issuer not in issuer_ids(self._authority.bundle_pem):
            reason = "the client certificate is of an authority that is not trusted here now; try again on another connection"
            self._refused(str(peer.workload), "renew", reason)
            await context.abort(grpc.StatusCode.UNAVAILABLE, reason)  # or one that this control plane has not heard of yet
        request = await _parsed(RenewRequest(), body, context)
        if self._attestor is not None:
            reason = "certificates are had by the service-account token here, not by an older certificate"
            self._refused(str(peer.workload), "renew", reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        if not self._known(peer.workload):
            reason = f"no service in the topology has the workload {peer.workload} any more; add it to the control plane's topology"
            self._refused(str(peer.workload), "renew", reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        return await self._sign(request.csr_der, peer.workload, "renew", context)

    async def _sign(
        self, csr_der: bytes, workload: WorkloadId, how: str, context: Context, attested: Attested | None = None
    ) -> Svid:
        signed = self._authority.sign(csr_der, workload, self._lifetime, datetime.now(UTC))
        if isinstance(signed, BadCsr):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"csr_der: {signed.reason}")
        self._issued(how)
        of = {"instance": attested.instance, "uid": attested.uid} if attested is not None else {}
        _log.info("certificate issued", workload=str(workload), how=how, not_after=signed.not_after.isoformat(), **of)
        return Svid(
            spiffe_id=signed.spiffe_id,
            certificate_chain_pem=signed.chain_pem,
            bundle_pem=self._authority.bundle_pem,
            not_before_seconds=int(signed.not_before.timestamp()),
            not_after_seconds=int(signed.not_after.timestamp()),
        )


class NoCertificates:
    """Stands in for `Certificates` where nothing is signed, and tells why. ``refused`` hears peer, claim, reason."""

    def __init__(self, reason: str, refused: Callable[[str, str, str], None]) -> None:
        self._reason = reason
        self._refused = refused

    def enrollment_handlers(self) -> grpc.GenericRpcHandler:
        """`Enroll`, refused."""
        return self._handlers("Enroll")

    def mesh_handlers(self) -> grpc.GenericRpcHandler:
        """`Renew`, refused."""
        return self._handlers("Renew")

    def _handlers(self, method: str) -> grpc.GenericRpcHandler:
        async def refuse(_body: bytes, context: Context) -> Svid:
            self._refused(context.peer(), method.lower(), self._reason)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self._reason)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            refuse, response_serializer=Svid.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {method: handler})


async def _parsed(message: Request, body: bytes, context: Context) -> Request:
    """The request; one that does not read gets an answer of ours."""
    try:
        message.ParseFromString(body)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a {message.DESCRIPTOR.full_name}")
    return message
