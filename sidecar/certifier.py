"""Has certificates signed by the control plane over gRPC: `issuing.Certifier`.

Never uses a private key but to prove the old identity.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc

from protos.picket.v1.certificates_pb2 import EnrollRequest, RenewRequest, Svid
from sidecar import channel
from sidecar.identity import Identity
from sidecar.issuing import Answer, Issued, Refused, Unreachable
from sidecar.join import Join, SettingsError, read_join
from sidecar.podjoin import read_bundle

_SERVICE = "/picket.v1.Certificates/"
TIMEOUT_SECONDS = 10.0


class GrpcCertifier:
    """Asks the control plane of a join file. A channel for each certificate: there is one in half an hour."""

    def __init__(self, join: Join, join_file: Path | None = None) -> None:
        """``join_file`` is where a person may put another token, and with it the roots of then."""
        self._join = join
        self._join_file = join_file

    async def enroll(self, token: str, csr_der: bytes) -> Answer:
        """Trade a join token for a certificate, believing the roots that are in the join file now."""
        join = self._join
        if self._join_file is not None:
            try:
                found, _ = await asyncio.to_thread(read_join, self._join_file)
            except SettingsError as error:
                return Unreachable(str(error))
            join = replace(join, bundle_pem=found.bundle_pem)
        return await self._ask(channel.enrollment_channel(join), "Enroll", EnrollRequest(join_token=token, csr_der=csr_der))

    async def attest(self, token: str, csr_der: bytes) -> Answer:
        """Trade a pod's service-account token for a certificate, believing the roots that are in their file now."""
        join = self._join
        if join.bundle_file is not None:
            try:
                join = replace(join, bundle_pem=await asyncio.to_thread(read_bundle, join.bundle_file))
            except SettingsError as error:
                return Unreachable(str(error))
        request = EnrollRequest(service_account_token=token, csr_der=csr_der)
        return await self._ask(channel.enrollment_channel(join), "Enroll", request)

    async def renew(self, identity: Identity, csr_der: bytes) -> Answer:
        """A certificate for a new key, by the proof of the old one."""
        return await self._ask(channel.mesh_channel(self._join, identity), "Renew", RenewRequest(csr_der=csr_der))

    async def _ask(self, opened: grpc.aio.Channel, method: str, request: EnrollRequest | RenewRequest) -> Answer:
        try:
            svid = await channel.call_once(
                opened, _SERVICE + method, request, Svid,
                metadata=channel.mesh_metadata(self._join), timeout_seconds=TIMEOUT_SECONDS,
            )  # fmt: skip
        except channel.CallError as error:
            where = self._join.enrollment if method == "Enroll" else self._join.control_plane
            return Refused(f"{where}: {error}") if error.lasting else Unreachable(f"{where}: {error}")
        finally:
            await opened.close()
        return Issued(svid.spiffe_id, svid.certificate_chain_pem, svid.bundle_pem, svid.not_before_seconds, svid.not_after_seconds)
