"""A sidecar's side of the control channel with everything real but Envoy, for which a gRPC client speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from controlplane.identity.authority import CertificateAuthority, Svid
from controlplane.server import listen
from controlplane.store.sql import SqlStore, open_store
from protos.picket.v1 import telemetry_pb2
from protos.picket.v1.sidecar_pb2 import SidecarInfo
from sidecar.configuration import Configuration
from sidecar.identity import Identity
from sidecar.issuing import new_key
from sidecar.join import Join
from sidecar.lastgood import Resources
from sidecar.relay import Relay
from sidecar.relayserver import RelayServer
from sidecar.reports import Reports
from sidecar.spool import Spool
from sidecar.uplink import Uplink
from tests.harness.mesh import CART, TRUST_DOMAIN, Mesh


@contextmanager
def opened_store(directory: Path) -> Iterator[SqlStore]:
    """An SQLite database that is closed afterwards."""
    store = open_store(f"sqlite:///{directory}/picket.db")
    try:
        yield store
    finally:
        store.close()


def join_of(mesh: Mesh, **changed: object) -> Join:
    """A join file's content for shop/cart, over the mesh's socket, which stays where it is when a mesh is started anew."""
    roots = mesh.authority.bundle_pem.decode()
    made = Join(mesh.socket, mesh.enrollment, TRUST_DOMAIN, str(CART), "", roots, listen.SERVER_NAME, insecure=False)
    return replace(made, **changed)  # type: ignore[arg-type]  # fields of a join file


def identity_of(
    authority: CertificateAuthority, lifetime: timedelta = timedelta(hours=1), bundle_pem: bytes | None = None
) -> Identity:
    """An identity of shop/cart, which trusts its own authority or another."""
    key, csr = new_key()
    svid = authority.sign(csr, CART, lifetime, datetime.now(UTC))
    assert isinstance(svid, Svid)
    return Identity(
        svid.spiffe_id, key, svid.chain_pem.decode(), (bundle_pem or authority.bundle_pem).decode(),
        int(svid.not_before.timestamp()), int(svid.not_after.timestamp()),
    )  # fmt: skip


def seen(count: int = 1, port: int = 7070) -> telemetry_pb2.Observation:
    """A use of shop/cart; the control plane refuses a port of 0."""
    return telemetry_pb2.Observation(
        direction=telemetry_pb2.INBOUND, verdict=telemetry_pb2.ALLOWED, service=str(CART), port=port, protocol="grpc",
        method="POST", path="/shop.Cart/Get", peer_id=f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/web", count=count,
        first_seen_ms=1, last_seen_ms=2,
    )  # fmt: skip


class Side:
    """One sidecar's relay, spool and uplink."""

    def __init__(self, directory: Path, join: Join, held: Resources) -> None:
        directory.mkdir(exist_ok=True)
        self.relay = Relay(held)
        self.server = RelayServer(self.relay, directory / "agent.sock", owner=None, accepted=lambda _: None)
        self.spool = Spool.open(directory / "spool", instance="cart-1")
        self.reports = Reports(self.spool)
        self.envoy_version = ""
        self.uplink = Uplink(join, Configuration(self.server), self.reports, self._info)

    def _info(self, identity: Identity) -> SidecarInfo:
        return SidecarInfo(
            instance="cart-1", envoy_version=self.envoy_version, certificate_not_after_seconds=identity.not_after_seconds
        )

    async def report(self, *observations: telemetry_pb2.Observation) -> None:
        """Put something into the spool."""
        assert await self.spool.append(list(observations), lost=0, cursor=b"")


@asynccontextmanager
async def running_side(
    directory: Path, join: Join, identity: Identity | None, held: Resources | None = None
) -> AsyncIterator[tuple[Side, grpc.aio.Channel]]:
    """A side whose uplink runs, and a channel for Envoy's part."""
    side = Side(directory / "side", join, held if held is not None else {})
    await side.server.start()
    running = asyncio.create_task(side.uplink.run())
    try:
        if identity is not None:
            side.uplink.use(identity)
        async with grpc.aio.insecure_channel(f"unix:{directory}/side/agent.sock") as channel:
            yield side, channel
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await side.server.stop()
        side.spool.close()
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error
