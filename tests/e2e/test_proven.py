"""Enforcement is proved on a mesh that runs: real sidecars try what is forbidden, and what is let through is an alarm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.api.client import ApiError, Client
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed
from controlplane.demo.tour import Tour
from sidecar.identity import Identity, load
from tests.e2e.meshes import NO_NAMESPACES, TOWN, eventually, kill_sidecar, learn, named, put_into, running
from tests.harness.adsclient import DeltaClient, connect
from tests.harness.envoy import envoy_binary

pytestmark = pytest.mark.e2e
_REDIRECT = pytest.param("redirect", marks=pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no namespaces here: {NO_NAMESPACES}"))


async def get(mesh: Mesh, path: str, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = await asyncio.to_thread(Client(mesh.plane.server).get, f"/api/v1/{path}", query)
    return found


async def counted(mesh: Mesh) -> dict[tuple[str, str, int], int]:
    """How often each edge was used, as far as it is learned."""
    return {(edge.source, edge.destination, edge.port): edge.count for edge in await mesh.plane.learned_edges()}


async def ended(mesh: Mesh, count: int) -> dict[str, dict[str, Any]]:
    """Wait until so many ports were tried; what stands for each, by service."""

    async def all_have() -> bool:
        proofs = (await get(mesh, "proofs"))["proofs"]
        return len(proofs) == count and all(proof["ended_ms"] is not None for proof in proofs)

    await eventually(all_have)
    return {proof["service"]: proof for proof in (await get(mesh, "proofs"))["proofs"]}


async def proved(mesh: Mesh, service: str) -> dict[str, Any]:
    """Have a service with one port tried, and wait for what comes of it."""
    asked = await asyncio.to_thread(Client(mesh.plane.server).post, "/api/v1/proofs", {"services": [service]})
    number = asked["proofs"][0]["id"]
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal found
        found = next(proof for proof in (await get(mesh, "proofs", all="true"))["proofs"] if proof["id"] == number)
        return found["ended_ms"] is not None

    await eventually(has_ended)
    return found


@pytest.mark.parametrize("capture", ["explicit", _REDIRECT])
async def test_what_is_enforced_is_tried_by_itself_and_shows_as_a_probe_alone(tmp_path: Path, capture: str) -> None:
    """HTTP, and servers that the client or the server opens: each denied, each in the log, none of them a blocked connection."""
    async with running(TOWN, tmp_path, capture=capture) as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        used = await counted(mesh)
        await put_into(mesh, "enforce")
        proofs = await ended(mesh, 3)
        assert {proof["status"] for proof in proofs.values()} == {"proven"}, proofs
        for service, proof in proofs.items():
            assert proof["deny_id"].startswith(f"deny:{service}@r")
        assert await mesh.plane.violations() == []
        assert (await get(mesh, "violations/count"))["count"] == 0
        shown = {found["id"]: found for found in (await get(mesh, "violations", probes="true"))["violations"]}
        for proof in proofs.values():
            found = shown[proof["violation"]]
            assert (found["probe"], found["verdict"], found["source"]) == (proof["id"], "denied", proof["source"])
        assert await counted(mesh) == used
        revision = (await get(mesh, "policy/revisions"))["revisions"][0]
        assert revision["proved"] == {"proven": 3, "failed": 0, "not_tried": 0, "open": 0}
        for service in ("cart", "redis"):
            await put_into(mesh, "quarantine", service)
            cut = await proved(mesh, service)
            assert (cut["status"], cut["deny_id"].startswith(f"deny:default/{service}@r")) == ("proven", True), cut


async def test_an_envoy_that_was_tampered_with_is_found_out(tmp_path: Path) -> None:
    """Its agent says that it runs what it was sent, and an Envoy with the service's own identity lets everybody in."""
    async with running(TOWN, tmp_path, capture="explicit") as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        with pytest.raises(ApiError, match="mode learn, which drops nothing"):
            await proved(mesh, "cart")
        await put_into(mesh, "enforce")
        assert (await ended(mesh, 3))["default/cart"]["status"] == "proven"
        cart = named(mesh, "cart")
        identity = load(cart.state / "identity.json", "spiffe://picket.local/ns/default/sa/cart")
        assert identity is not None
        await kill_sidecar(mesh, cart)
        async with liar(mesh, identity), tampered(tmp_path, cart, identity):
            found = await proved(mesh, "cart")
        assert (found["status"], found["reason"]) == ("failed", "let through: HTTP 200")
        failed = [event for event in (await get(mesh, "audit"))["events"] if event["action"] == "proof:failed"]
        assert [(event["subject"], event["detail"]["reason"]) for event in failed] == [("default/cart", found["reason"])]


@asynccontextmanager
async def liar(mesh: Mesh, identity: Identity) -> AsyncIterator[None]:
    """An agent of the cart that takes everything and does nothing with it."""
    credentials = grpc.ssl_channel_credentials(identity.bundle_pem.encode(), identity.key_pem.encode(), identity.chain_pem.encode())
    channel = connect(f"unix:{mesh.authority_file.parent}/grpc.sock", credentials)
    client = DeltaClient(channel, "sidecar~default/cart~liar")
    try:
        await client.subscribe_to_everything()

        async def believed() -> bool:
            rows = (await get(mesh, "sidecars"))["sidecars"]
            return any(row["instance"] == "liar" and row["state"] == "ack" for row in rows)

        await eventually(believed)
        yield
    finally:
        await client.close()
        await channel.close()


@asynccontextmanager
async def tampered(directory: Path, place: Placed, identity: Identity) -> AsyncIterator[None]:
    """An Envoy where the service's sidecar stood, which answers everybody."""
    number = place.service.ports[0].target
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "all",
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
            ]
        },
    }
    pair = {"certificate_chain": {"inline_string": identity.chain_pem}, "private_key": {"inline_string": identity.key_pem}}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair]},
    }
    listener = {
        "address": {"socket_address": {"address": place.address, "port_value": number}},
        "filter_chains": [
            {
                "filters": [{"name": "all", "typed_config": manager}],
                "transport_socket": {"name": "tls", "typed_config": tls},
            }
        ],
    }
    file = directory / "tampered.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    process = await asyncio.create_subprocess_exec(
        envoy_binary(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"
    )
    try:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection(place.address, number)
            except OSError:
                return False
            writer.close()
            return True

        await eventually(listens)
        yield
    finally:
        process.kill()
        await process.wait()
