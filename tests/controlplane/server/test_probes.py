"""Sidecars that are willing to try forbidden connections, over a real server and real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.identity.authority import load_or_create
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.proofs import Answer, Proof, Target
from controlplane.server import listen
from controlplane.server.authentication import Authenticator
from controlplane.server.instances import Instances
from controlplane.server.probes import MAX_ANSWER_BYTES, SERVICE, Probes, Who
from controlplane.server.streams import OpenStreams
from controlplane.settings import parse_listen
from controlplane.topology.model import ServiceName
from protos.picket.v1 import sidecar_pb2
from protos.picket.v1.sidecar_pb2 import Probe, ProbeAnswer
from tests.harness.adsclient import connect
from tests.harness.mesh import CART, TOPOLOGY, TRUST_DOMAIN, WEB, credentials, until

MARK = "0123456789abcdef" * 2
TARGET = Target(ServiceName("shop", "cart"), 7070, "10.0.0.2")
PROOF = Proof(1, TARGET, 3, "picket", 5, source="shop/web", instance="web-0", mark=MARK)


class Served:
    """The service, and what it was told."""

    def __init__(self, directory: Path) -> None:
        self.authority = load_or_create(directory / "ca", TRUST_DOMAIN)
        self.answers: list[tuple[Who, str, Answer, str]] = []
        self.refusals: list[tuple[str, str, str]] = []
        self.streams = OpenStreams()
        self.probes = Probes(
            Authenticator(TRUST_DOMAIN), lambda *said: self.answers.append(said), lambda *said: self.refusals.append(said),
            self.streams, Instances(),
        )  # fmt: skip
        self.server = listen.mesh_server()
        self.server.add_generic_rpc_handlers((self.probes.handlers(),))
        trusted = listen.server_credentials(self.authority, (), client_certificates=True)
        self.target = listen.bind(self.server, parse_listen("127.0.0.1:0", "test"), trusted)

    @asynccontextmanager
    async def stream(self, workload: WorkloadId = WEB) -> AsyncIterator[Any]:
        async with connect(self.target, credentials(self.authority, workload)) as channel:
            call: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
                f"/{SERVICE}/Take", response_deserializer=Probe.FromString
            )
            yield call()


@pytest.fixture
async def served(directory: Path) -> AsyncIterator[Served]:
    made = Served(directory)
    await made.server.start()
    yield made
    made.streams.stop()
    await made.server.stop(2)


async def test_the_one_that_was_chosen_is_sent_the_probe_and_its_answer_is_its_own(served: Served) -> None:
    async with served.stream(CART) as other, served.stream() as stream:
        await other.write(ProbeAnswer(instance="web-0").SerializeToString())
        await stream.write(ProbeAnswer(instance="web-0").SerializeToString())
        await until(lambda: len(served.probes.listening()) == 2)
        assert set(served.probes.listening()) == {(WEB, "web-0"), (CART, "web-0")}, "by the certificate"
        served.probes.send(PROOF, TOPOLOGY)
        probe = await stream.read()
        assert (probe.mark, probe.address, probe.port, probe.workload) == (MARK, "10.0.0.2", 7070, "shop/cart")
        assert (probe.alpn, probe.http) == ("picket", True)
        said = ProbeAnswer(mark=MARK, outcome=sidecar_pb2.REFUSED, told="HTTP 403")
        await other.write(said.SerializeToString())
        await stream.write(said.SerializeToString())
        await until(lambda: len(served.answers) == 2)
        assert ((WEB, "web-0"), MARK, Answer.REFUSED, "HTTP 403") in served.answers
        assert ((CART, "web-0"), MARK, Answer.REFUSED, "HTTP 403") in served.answers, "told as who it is"
        assert not other.done()
    await until(lambda: not served.probes.listening())
    served.probes.send(PROOF, TOPOLOGY)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\0" * (MAX_ANSWER_BYTES + 1),
        ProbeAnswer().SerializeToString(),
        ProbeAnswer(instance="a\nb").SerializeToString(),
        ProbeAnswer(instance="a" * 129).SerializeToString(),
    ],
)
async def test_who_does_not_say_which_replica_it_is_is_refused(served: Served, body: bytes) -> None:
    async with served.stream() as stream:
        await stream.write(body)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [peer for peer, _, _ in served.refusals] == ["shop/web"]


@pytest.mark.parametrize(
    "answer",
    [
        ProbeAnswer(mark=MARK),
        ProbeAnswer(mark=MARK, outcome=sidecar_pb2.PASSED, told="x" * 201),
        ProbeAnswer(mark="x" * 65, outcome=sidecar_pb2.PASSED),
    ],
)
async def test_what_is_no_answer_ends_the_stream(served: Served, answer: ProbeAnswer) -> None:
    async with served.stream() as stream:
        await stream.write(ProbeAnswer(instance="web-0").SerializeToString())
        await stream.write(answer.SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: not served.probes.listening())
    assert served.answers == []


async def test_a_newer_stream_of_a_replica_takes_the_place_of_an_older_one(served: Served) -> None:
    async with served.stream() as older, served.stream() as newer:
        for stream in (older, newer):
            await stream.write(ProbeAnswer(instance="web-0").SerializeToString())
            await stream.write(ProbeAnswer(mark=MARK, outcome=sidecar_pb2.OPEN).SerializeToString())
            await until(lambda: bool(served.answers))
            served.answers.clear()
        served.probes.send(PROOF, TOPOLOGY)
        assert (await newer.read()).mark == MARK
        older.cancel()
        await asyncio.wait_for(until(older.done), 20)
        assert served.probes.listening() == ((WEB, "web-0"),)
