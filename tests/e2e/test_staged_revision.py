"""A policy revision in stages over several replicas of a service: each real Envoy has it when its stage does, and not before."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.client import Client
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed
from controlplane.demo.tour import Tour
from controlplane.topology.model import ServiceName
from sidecar.identity import load
from sidecar.probe import Order, attempt
from sidecar.settings import PROXY_ID
from tests.e2e.meshes import NO_NAMESPACES, TOWN, eventually, learn, named, put_into, running
from tests.harness.namespaces import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")]
REPLICAS = 2


def joined(run: str, place: Placed, number: int) -> None:
    """A namespace on the mesh's bridge."""
    hub, name, link = f"{run}-hub", place.namespace, f"r{number}"
    for command in (
        f"ip netns add {name}",
        f"ip -n {hub} link add {link} type veth peer name eth0 netns {name}",
        f"ip -n {hub} link set {link} master br0 up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} address add {place.address}/16 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default dev eth0",
    ):
        subprocess.run(command.split(), check=True)


async def replicas(mesh: Mesh) -> dict[str, Placed]:
    """All sidecars of the cart, by instance: more of them are started beside the first."""
    first = named(mesh, "cart")
    found = {first.namespace: first}
    run = first.namespace.rpartition("-")[0]
    for number in range(1, REPLICAS + 1):
        index = 100 + number
        # Named apart, for its process alone: who it is stands in its join file.
        service = replace(first.service, name=ServiceName("default", f"cart-{number}"), endpoints=(f"10.211.9.{number}",))
        place = Placed(index, service, mesh.authority_file.parent / f"{index}", f"{run}-{index}")
        joined(run, place, number)
        join = mesh.authority_file.parent / f"join-{index}.json"
        join.touch(mode=0o600)
        join.write_bytes(await mesh.plane.join_document("default/cart"))
        mesh.processes.service(place, join)
        found[place.namespace] = place

    async def up() -> bool:
        return len([row for row in await rows(mesh) if row["state"] == "ack"]) == len(found)

    await eventually(up)
    return found


async def get(mesh: Mesh, path: str) -> Any:
    return await asyncio.to_thread(Client(mesh.plane.server).get, f"/api/v1/{path}")


async def post(mesh: Mesh, path: str, body: Mapping[str, object]) -> Any:
    return await asyncio.to_thread(Client(mesh.plane.server).post, f"/api/v1/{path}", body)


async def rows(mesh: Mesh) -> list[dict[str, Any]]:
    return [row for row in (await get(mesh, "sidecars"))["sidecars"] if row["workload"] == "default/cart" and row["connected"]]


async def letting_in(mesh: Mesh, carts: Mapping[str, Placed], source: Placed) -> set[str]:
    """The replicas that let a workload in, tried with its identity past its own sidecar."""
    identity = load(source.state / "identity.json", f"spiffe://picket.local/ns/default/sa/{source.service.name.name}")
    assert identity is not None
    inside = Namespace(source.namespace, "", "")
    found = set()
    for instance, place in carts.items():
        order = Order(
            place.address, 7070, "a.test", "spiffe://picket.local/ns/default/sa/cart", "picket",
            "GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n", identity.key_pem, identity.chain_pem, identity.bundle_pem,
        )  # fmt: skip
        outcome, told = await asyncio.to_thread(inside.run, lambda order=order: attempt(order), gid=PROXY_ID)
        assert outcome in {"passed", "refused"}, told
        found |= {instance} if outcome == "passed" else set()
    return found


FILE = """\
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: cart
  namespace: default
spec:
  rules: []
"""


async def test_a_call_that_only_it_denies_takes_it_back(tmp_path: Path) -> None:
    """One replica has a list without the web; its first denied call gives the web back to that one."""
    async with running(TOWN, tmp_path) as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await put_into(mesh, "enforce")
        carts, web = await replicas(mesh), named(mesh, "web")
        plan = {"staged": True, "hold_seconds": 3_600, "share_percent": 1, "max_denials": 0}
        made = await post(mesh, "policy/apply", {"files": [{"name": "cart.yaml", "text": FILE}], **plan})

        async def one_has_it() -> bool:
            return [row["rollout"] is not None for row in await rows(mesh) if row["revision"] == made["revision"]] == [True]

        await eventually(one_has_it)
        (newer,) = (row["instance"] for row in await rows(mesh) if row["rollout"])
        assert await letting_in(mesh, carts, web) == carts.keys() - {newer}

        async def back() -> bool:
            return not (await get(mesh, "rollouts"))["rollouts"]

        await eventually(back)
        ended = (await get(mesh, "rollouts?all=true"))["rollouts"][0]
        assert (ended["status"], ended["reason"]) == ("rolled-back", "denied connections: 1, at most 0 may be")

        async def all_let_it_in() -> bool:
            return await letting_in(mesh, carts, web) == carts.keys()

        await eventually(all_let_it_in)


async def test_each_replica_has_it_when_its_stage_does(tmp_path: Path) -> None:
    """One, then all; while it is paused nothing moves, and the one that has it is marked."""
    async with running(TOWN, tmp_path) as mesh:
        base = await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await put_into(mesh, "enforce")
        carts, db, web = await replicas(mesh), named(mesh, "db"), named(mesh, "web")
        assert await letting_in(mesh, carts, web) == carts.keys()
        assert await letting_in(mesh, carts, db) == set()

        await post(mesh, "asks", {"source": "db", "destination": "cart", "port": 7070, "reason": "a new job"})
        number = (await get(mesh, "proposals"))["proposals"][0]["number"]
        plan = {"staged": True, "hold_seconds": 1, "share_percent": 1, "rows": [1], "max_denials": 0}
        made = await post(mesh, f"proposals/{number}/approve", plan)
        rollout = (await get(mesh, "rollouts"))["rollouts"][0]["id"]
        await post(mesh, f"rollouts/{rollout}/pause", {})

        async def one_has_it() -> bool:
            return {row["revision"] for row in await rows(mesh)} == {base, made["revision"]}

        await eventually(one_has_it)
        newer = {row["instance"] for row in await rows(mesh) if row["revision"] == made["revision"]}
        assert len(newer) == 1
        assert newer == {row["instance"] for row in await rows(mesh) if row["rollout"]}
        assert await letting_in(mesh, carts, db) == newer
        assert await letting_in(mesh, carts, web) == carts.keys()
        assert (await get(mesh, "policy"))["revision"] == base
        shown = (await get(mesh, f"rollouts/{rollout}"))["sidecars"]
        assert {item["instance"] for item in shown if item["staged"] and item["workload"] == "default/cart"} == newer

        await post(mesh, f"rollouts/{rollout}/resume", {})

        async def done() -> bool:
            return not (await get(mesh, "rollouts"))["rollouts"]

        await eventually(done)
        assert await letting_in(mesh, carts, db) == carts.keys()
        assert (await get(mesh, "policy"))["revision"] == made["revision"]
