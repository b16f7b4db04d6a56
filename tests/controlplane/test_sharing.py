"""Two control planes on one PostgreSQL: what is approved at one is in force at the other's sidecars, and each knows of all."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.xds import types
from tests.controlplane.test_runtime import READY_SECONDS, TOPOLOGY, Running, batch, enrolled, reporting, running
from tests.harness.adsclient import DeltaClient, connect
from tests.harness.directories import short_directory


@pytest.fixture
def directories() -> Iterator[tuple[Path, Path]]:
    """Two data directories, short enough for sockets."""
    with short_directory("run") as first, short_directory("run") as second:
        for made in (first, second):
            (made / "topology.yaml").write_bytes(TOPOLOGY)
        yield first, second


async def connected(plane: Running, *wanted: str) -> None:
    """Wait until a control plane shows that just these workloads are connected."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            found = (await asyncio.to_thread(plane.api().get, "/api/v1/sidecars"))["sidecars"]
            if sorted(row["workload"] for row in found if row["connected"]) == sorted(wanted):
                return
            await asyncio.sleep(0.05)


async def test_what_one_approves_is_in_force_at_the_other(directories: tuple[Path, Path], postgresql_url: str) -> None:
    """The sidecar is connected to the second and never to the first; the second, when it ends, takes its connection along."""
    first_directory, second_directory = directories
    options = ("--database", postgresql_url, "--default-mode", "audit")
    async with running(first_directory, *options) as first:
        shutil.copytree(first_directory / "ca", second_directory / "ca")  # one mesh has one authority
        async with running(second_directory, *options) as second:
            secured = await enrolled(second, "shop/cart")
            async with connect(second.address("gRPC"), secured) as channel:
                client = DeltaClient(channel, "sidecar~shop/cart~cart-0")
                await client.subscribe_to_everything()
                await client.until(lambda: bool(client.names(types.EXTENSION)))
                await connected(first, "shop/cart")
                call = reporting(channel)
                await call.write(batch(1))
                await call.read()
                before = dict(client.held[types.EXTENSION])
                api = first.api()
                proposals: Any = await asyncio.to_thread(api.get, "/api/v1/proposals")
                number = proposals["proposals"][0]["number"]
                await asyncio.to_thread(api.post, f"/api/v1/proposals/{number}/approve", {})
                await client.until(lambda: client.held[types.EXTENSION] != before)
                revision: Any = await asyncio.to_thread(second.api().get, "/api/v1/policy")
                assert revision["revision"] == 1
                await client.close()
            second.process.send_signal(signal.SIGTERM)
            assert await second.ended() == 0
        await connected(first)
