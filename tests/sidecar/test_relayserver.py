"""The agent's socket: a real gRPC client stands for Envoy, the test for the uplink."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from protos.picket.v1.xds_pb2 import Node
from sidecar import relayserver
from sidecar.lastgood import Resources
from sidecar.relay import CLUSTER, EXTENSION, Relay
from sidecar.relayserver import RelayServer, RelayServerError
from sidecar.sds import IDENTITY, SECRET_TYPE, identity_secret
from tests.sidecar.test_relay import ack, ask, content, kept, news
from tests.sidecar.waiting import until


class Agent:
    """A relay server and what it was told to keep."""

    def __init__(self, directory: Path, held: Resources) -> None:
        self.path = directory / "agent.sock"
        self.accepted = asyncio.Event()
        self.relay = Relay(held)
        self.server = RelayServer(self.relay, self.path, owner=None, accepted=lambda _: self.accepted.set())


class Envoy:
    """One stream of a client."""

    def __init__(self, channel: grpc.aio.Channel, service: str = relayserver.ADS, method: str = "DeltaAggregatedResources") -> None:
        self.call: Any = channel.stream_stream(
            f"/{service}/{method}", request_serializer=Request.SerializeToString, response_deserializer=Response.FromString
        )()

    async def say(self, request: Request) -> None:
        await self.call.write(request)

    async def hear(self) -> Response:
        async with asyncio.timeout(10):
            response = await self.call.read()
        assert isinstance(response, Response)
        return response


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(tmp_path, kept(CLUSTER={"a": "1"}))
    await made.server.start()
    yield made
    await made.server.stop()


@pytest.fixture
async def channel(agent: Agent) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{agent.path}") as opened:
        yield opened


async def test_the_socket_is_for_one_user_only(agent: Agent) -> None:
    assert stat.S_IMODE(agent.path.stat().st_mode) == 0o600
    assert agent.path.stat().st_uid == os.geteuid()


async def test_the_socket_goes_with_the_agent_and_a_stale_one_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "agent.sock").write_text("stale")
    made = Agent(tmp_path, {})
    await made.server.start()
    await made.server.stop()
    assert not made.path.exists()


async def test_a_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(RelayServerError, match="cannot listen there"):
        await Agent(tmp_path / "missing", {}).server.start()


async def test_envoy_is_answered_from_disk_and_then_by_the_control_plane(agent: Agent, channel: grpc.aio.Channel) -> None:
    envoy = Envoy(channel)
    await envoy.say(ask(CLUSTER, first=True))
    sent = await envoy.hear()
    assert content(sent) == {"a": "1"}
    await envoy.say(ack(sent))
    await agent.server.wanted()
    upstream = agent.server.open_upstream()
    async with asyncio.timeout(10):
        request = await upstream.requests.get()
    assert dict(request.initial_resource_versions) == {"a": "1"}
    agent.server.upstream_response(upstream, news(CLUSTER, "n1", a="2"))
    sent = await envoy.hear()
    assert content(sent) == {"a": "2"}
    assert not agent.accepted.is_set()
    await envoy.say(ack(sent))
    async with asyncio.timeout(10):
        assert (await upstream.requests.get()).response_nonce == "n1"
        await agent.accepted.wait()


async def test_a_new_upstream_stream_ends_the_older_one(agent: Agent) -> None:
    older = agent.server.open_upstream()
    newer = agent.server.open_upstream()
    assert older.closed.is_set()
    agent.server.upstream_closed(older)
    assert not newer.closed.is_set()


async def test_a_new_envoy_ends_the_upstream_stream_of_the_last_without_blame(agent: Agent, channel: grpc.aio.Channel) -> None:
    first = Envoy(channel)
    await first.say(ask(CLUSTER, first=True))
    await first.hear()
    upstream = agent.server.open_upstream()
    second = Envoy(channel)
    await second.say(ask(CLUSTER, first=True))
    async with asyncio.timeout(10):
        await upstream.closed.wait()
        assert upstream.reason == ""
        assert content(await second.hear()) == {"a": "1"}
        assert await first.call.code() is grpc.StatusCode.OK


async def test_when_envoy_goes_nothing_is_wanted_until_the_next_one(agent: Agent, channel: grpc.aio.Channel) -> None:
    envoy = Envoy(channel)
    await envoy.say(ask(CLUSTER, first=True))
    await envoy.hear()
    upstream = agent.server.open_upstream()
    envoy.call.cancel()
    async with asyncio.timeout(10):
        await upstream.closed.wait()
    waiting = asyncio.create_task(agent.server.wanted())
    await asyncio.sleep(0)
    assert not waiting.done()
    await Envoy(channel).say(ask(CLUSTER, first=True))
    async with asyncio.timeout(10):
        await waiting


async def test_a_control_plane_that_piles_up_more_than_envoy_reads_is_cut_off(
    agent: Agent, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relayserver, "MAX_QUEUED", 3)
    envoy = Envoy(channel)
    await envoy.say(ask(CLUSTER, first=True))
    await envoy.say(ack(await envoy.hear()))
    upstream = agent.server.open_upstream()
    async with asyncio.timeout(10):
        await upstream.requests.get()
    for number in range(20):
        agent.server.upstream_response(upstream, news(CLUSTER, f"n{number}", a="2"))
    assert "has not read" in upstream.reason
    assert upstream.closed.is_set()


async def test_a_refusal_by_envoy_is_logged_in_its_words(
    agent: Agent, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    envoy = Envoy(channel)
    await envoy.say(ask(CLUSTER, first=True))
    refusal = ack(await envoy.hear())
    refusal.error_detail.message = "no such filter"
    await envoy.say(refusal)
    await envoy.say(ask(EXTENSION, "x"))
    await until(lambda: "no such filter" in caplog.text)
    assert "type=Cluster" in caplog.text


async def test_envoys_certificate_comes_from_the_agent_and_follows_its_renewal(agent: Agent, channel: grpc.aio.Channel) -> None:
    envoy = Envoy(channel, relayserver.SDS, "DeltaSecrets")
    await envoy.say(Request(type_url=SECRET_TYPE, resource_names_subscribe=[IDENTITY], node=Node(id="x")))
    agent.server.set_identity("1", identity_secret(b"chain", b"key"))
    first = await envoy.hear()
    assert first.resources[0].resource.endswith(identity_secret(b"chain", b"key"))
    agent.server.set_identity("2", identity_secret(b"chain2", b"key2"))
    assert (await envoy.hear()).resources[0].version == "2"
    late = Envoy(channel, relayserver.SDS, "DeltaSecrets")
    await late.say(Request(type_url=SECRET_TYPE, resource_names_subscribe=[IDENTITY]))
    assert (await late.hear()).resources[0].version == "2"
