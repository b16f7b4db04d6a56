"""The uplink against a real control plane: what survives its absence, a new identity, refusals and silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.identity.authority import load_or_create
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.topology.model import Topology
from protos.picket.v1.sidecar_pb2 import AnnounceAck
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from sidecar import configuration, uplink
from sidecar.relay import CLUSTER
from tests.harness.directories import short_directory
from tests.harness.mesh import CART, TOPOLOGY, TRUST_DOMAIN, Mesh, running_mesh, service
from tests.sidecar.test_relay import ack, ask, content, kept
from tests.sidecar.test_relayserver import Envoy
from tests.sidecar.uplinks import identity_of, join_of, opened_store, running_side, seen
from tests.sidecar.waiting import until


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def store(directory: Path) -> Iterator[SqlStore]:
    with opened_store(directory) as opened:
        yield opened


@pytest.fixture
async def mesh(directory: Path, store: SqlStore) -> AsyncIterator[Mesh]:
    async with running_mesh(directory, store) as running:
        yield running


async def clusters(envoy: Envoy) -> Response:
    """Have Envoy ask for its clusters and take what comes."""
    await envoy.say(ask(CLUSTER, first=True))
    response = await envoy.hear()
    await envoy.say(ack(response))
    return response


def stored(mesh: Mesh) -> int:
    """How many uses the control plane stored."""
    return sum(flow.count for report, _ in mesh.heard.stored for flow in report.flows)


def streams(mesh: Mesh) -> int:
    """How many configuration streams have begun."""
    return [event[0] for event in mesh.heard.events].count("connected")


async def test_configuration_comes_down_and_acks_go_up(directory: Path, mesh: Mesh) -> None:
    async with running_side(directory, join_of(mesh), identity_of(mesh.authority)) as (side, channel):
        response = await clusters(Envoy(channel))
        assert "app|7070" in content(response)
        await until(lambda: side.relay.last_good.get(CLUSTER, {}).keys() == content(response).keys())


async def test_the_sidecar_announces_itself_and_again_when_something_changed(directory: Path, mesh: Mesh) -> None:
    identity = identity_of(mesh.authority)
    async with running_side(directory, join_of(mesh), identity) as (side, _):
        await until(lambda: mesh.heard.announced)
        workload, info = mesh.heard.announced[0]
        assert (workload, info.instance, info.certificate_not_after_seconds) == (CART, "cart-1", identity.not_after_seconds)
        assert side.uplink.is_connected
        side.envoy_version = "1.40.0"
        await until(lambda: mesh.heard.announced[-1][1].envoy_version == "1.40.0")
        assert len(mesh.heard.announced) == 2


async def test_reports_leave_the_spool_once_they_are_stored(directory: Path, mesh: Mesh) -> None:
    async with running_side(directory, join_of(mesh), identity_of(mesh.authority)) as (side, _):
        for count in range(1, 41):  # more than fit the window
            await side.report(seen(count))
        async with asyncio.timeout(30):
            await side.reports.emptied()
    assert stored(mesh) == sum(range(1, 41))


async def test_a_control_plane_that_was_killed_is_found_again_and_nothing_is_lost_or_counted_twice(
    directory: Path, store: SqlStore
) -> None:
    first = Mesh(directory, store, insecure=False, topology=TOPOLOGY, default_mode=Mode.LEARN, stream_limit=100)
    await first.start()
    async with running_side(directory, join_of(first), identity_of(first.authority)) as (side, channel):
        envoy = Envoy(channel)
        had = await clusters(envoy)
        await side.report(seen(1))
        async with asyncio.timeout(30):
            await side.reports.emptied()
        await first.kill()
        await until(lambda: not side.uplink.is_connected)
        await side.report(seen(10))
        assert side.spool.waiting_batches == 1
        async with running_mesh(directory, store) as second:
            async with asyncio.timeout(30):
                await side.reports.emptied()
            await until(lambda: ("unchanged", "1", "0") in second.heard.events or streams(second))
            assert (stored(first), stored(second)) == (1, 10)
            # Envoy keeps its stream and what it has, and is not told it again.
            await side.report(seen(100))
            async with asyncio.timeout(30):
                await side.reports.emptied()
            assert not envoy.call.done()
            assert content(had).keys() == side.relay.last_good[CLUSTER].keys()
    await first.stop()


async def test_without_a_control_plane_envoy_comes_up_from_disk(directory: Path, mesh: Mesh) -> None:
    join = join_of(mesh, control_plane="127.0.0.1:1")
    async with running_side(directory, join, identity_of(mesh.authority), kept(CLUSTER={"a": "1"})) as (_, channel):
        assert content(await clusters(Envoy(channel))) == {"a": "1"}


async def test_without_an_identity_nobody_is_asked_and_the_disk_still_answers(directory: Path, mesh: Mesh) -> None:
    async with running_side(directory, join_of(mesh), None, kept(CLUSTER={"a": "1"})) as (side, channel):
        assert content(await clusters(Envoy(channel))) == {"a": "1"}
        assert not side.uplink.is_connected
    assert mesh.heard.announced == []


async def test_another_identity_means_another_connection_and_envoy_notices_nothing(directory: Path, mesh: Mesh) -> None:
    async with running_side(directory, join_of(mesh), identity_of(mesh.authority)) as (side, channel):
        envoy = Envoy(channel)
        await clusters(envoy)
        await until(lambda: streams(mesh) == 1)
        side.uplink.use(renewed := identity_of(mesh.authority))
        await until(lambda: streams(mesh) == 2)
        await until(lambda: mesh.heard.announced[-1][1].certificate_not_after_seconds == renewed.not_after_seconds)
        await side.report(seen(5))
        async with asyncio.timeout(30):
            await side.reports.emptied()
        assert not envoy.call.done()
        answer = await envoy.hear()  # "all is as you say": the first answer to a wildcard may not be left out
        assert (len(answer.resources), list(answer.removed_resources)) == (0, [])


async def test_a_workload_that_the_topology_lost_still_reports(
    directory: Path, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    others = Topology.of((service("web", 80, "http", "10.0.0.1"),))
    async with (
        running_mesh(directory, store, topology=others) as mesh,
        running_side(directory, join_of(mesh), identity_of(mesh.authority), kept(CLUSTER={"a": "1"})) as (side, channel),
    ):
        assert content(await clusters(Envoy(channel))) == {"a": "1"}
        await side.report(seen(3))
        async with asyncio.timeout(30):
            await side.reports.emptied()
        await until(lambda: "control plane refuses the configuration" in caplog.text)
        assert side.uplink.is_connected


async def test_a_batch_that_is_refused_is_told_and_kept_and_hinders_no_configuration(
    directory: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_side(directory, join_of(mesh), identity_of(mesh.authority)) as (side, channel):
        await side.report(seen(port=0))
        await until(lambda: "control plane refuses the reports" in caplog.text)
        assert "port" in caplog.text
        assert side.spool.waiting_batches == 1
        assert "app|7070" in content(await clusters(Envoy(channel)))


async def test_a_control_plane_that_cannot_prove_itself_is_told_nothing(
    directory: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = load_or_create(directory / "stranger", TRUST_DOMAIN)
    identity = replace(identity_of(mesh.authority), bundle_pem=stranger.bundle_pem.decode())
    async with running_side(directory, join_of(mesh), identity) as (side, _):
        await side.report(seen())
        await until(lambda: caplog.text.count("control plane not reached") >= 3)
        assert side.spool.waiting_batches == 1
    assert mesh.heard.announced == []


async def test_insecure_mode_says_who_it_is(directory: Path, store: SqlStore) -> None:
    async with running_mesh(directory, store, insecure=True) as mesh:
        join = join_of(mesh, insecure=True)
        async with running_side(directory, join, identity_of(mesh.authority)) as (side, channel):
            assert "app|7070" in content(await clusters(Envoy(channel)))
            await side.report(seen(2))
            async with asyncio.timeout(30):
                await side.reports.emptied()


async def test_a_control_plane_that_takes_the_call_and_says_nothing_counts_as_away(
    directory: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(configuration, "STARVED_SECONDS", 0.2)
    async with _silent_control_plane(directory) as target:
        join = join_of(mesh, control_plane=target, insecure=True)
        async with running_side(directory, join, identity_of(mesh.authority), kept(CLUSTER={"a": "1"})) as (side, channel):
            await until(lambda: side.uplink.is_connected)
            assert content(await clusters(Envoy(channel))) == {"a": "1"}
            assert caplog.text.count("control plane not reached") <= 1  # served from disk, it is in no hurry


async def test_a_refusal_of_the_whole_sidecar_is_tried_again_slowly(
    directory: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uplink, "LASTING_RETRY_SECONDS", 3600)
    # The control plane is of another trust domain and says UNAUTHENTICATED.
    join = join_of(mesh, trust_domain="other.test", insecure=True)
    async with (
        _refusing_control_plane(directory) as target,
        running_side(directory, replace(join, control_plane=target), identity_of(mesh.authority)) as (side, _),
    ):
        await until(lambda: "control plane not reached" in caplog.text)
        assert "UNAUTHENTICATED: who are you" in caplog.text
        assert side.uplink.is_connected is False
        side.uplink.use(identity_of(mesh.authority))  # a new identity does not have to wait
        await until(lambda: caplog.text.count("UNAUTHENTICATED") == 2)


def _control_plane(directory: Path, announce: Any) -> tuple[grpc.aio.Server, str]:
    """A plaintext server that takes announcements as told, and streams without ever answering."""

    async def silent(requests: Any, context: Any) -> None:
        async for _ in requests:
            pass

    stream: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(silent)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("picket.v1.Sidecars", {"Announce": grpc.unary_unary_rpc_method_handler(announce)}),
        grpc.method_handlers_generic_handler("picket.v1.Telemetry", {"Report": stream}),
        grpc.method_handlers_generic_handler(
            "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": stream}
        ),
    ))  # fmt: skip
    target = f"unix:{directory}/other.sock"
    server.add_insecure_port(target)
    return server, target


class _silent_control_plane:  # noqa: N801  # used as a function
    def __init__(self, directory: Path) -> None:
        async def announce(request: bytes, context: Any) -> bytes:
            return AnnounceAck().SerializeToString()

        self._server, self._target = _control_plane(directory, announce)

    async def __aenter__(self) -> str:
        await self._server.start()
        return self._target

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


class _refusing_control_plane(_silent_control_plane):  # noqa: N801  # used as a function
    def __init__(self, directory: Path) -> None:
        async def announce(request: bytes, context: Any) -> bytes:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
            return b""

        self._server, self._target = _control_plane(directory, announce)
