"""ADS through a real server and real TLS: the protocol's play, who may ask for what, and what bounds there are."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode
from controlplane.server import ads
from controlplane.server.ads import AggregatedDiscovery, StreamId
from controlplane.server.authentication import Authenticator
from controlplane.server.snapshots import SnapshotCache
from controlplane.store.sql import SqlStore
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import CompileError
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published
from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot, resource_from_bytes
from tests.harness.adsclient import DeltaClient, SotwClient, claim, connect
from tests.harness.mesh import CART, DB, NOW_MS, TRUST_DOMAIN, WEB, Heard, Mesh, running_mesh, until

NODE = "sidecar~shop/web~web-0"


def resource(type_url: str, name: str, text: str = "1") -> Resource:
    """A resource whose bytes begin with its name, as those of every served type do."""
    body = b"\x0a" + bytes((len(name),)) + name.encode() + text.encode()
    return resource_from_bytes(type_url, name, body)


class Served:
    """An ADS server of hand-made snapshots, plaintext on loopback and on a Unix socket."""

    def __init__(self, directory: Path, *resources: Resource) -> None:
        self.heard = Heard()
        self.cache = SnapshotCache(lambda workload: Snapshot.of(resources, 1) if workload == WEB else None)
        self._server = grpc.aio.server()
        discovery = AggregatedDiscovery(self.cache, Authenticator(TRUST_DOMAIN, insecure=True), self.heard)
        self._server.add_generic_rpc_handlers((discovery.handlers(),))
        self.targets = [f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}", f"unix:{directory}/ads.sock"]
        self._server.add_insecure_port(self.targets[1])

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    def push(self, *resources: Resource, revision: int = 2) -> None:
        """Another snapshot."""
        self.cache.replace({WEB: Snapshot.of(resources, revision)})


@pytest.mark.parametrize("over", [0, 1], ids=["loopback", "unix"])
async def test_delta_play(directory: Path, over: int) -> None:
    """Everything at first, then only what changed and what went, each after the answer to the one before."""
    kept, changed, gone = (resource(types.CLUSTER, name) for name in ("kept", "changed", "gone"))
    async with Served(directory, kept, changed, gone) as served, connect(served.targets[over]) as channel:
        client = DeltaClient(channel, NODE, claim(WEB.uri(TRUST_DOMAIN)))
        sizes: list[int] = []
        client.arrived = lambda response: sizes.append(len(response.resources) + len(response.removed_resources))
        await client.subscribe(types.CLUSTER)
        await client.until(lambda: client.names(types.CLUSTER) == ["changed", "gone", "kept"])
        client.answering.clear()
        served.push(kept, resource(types.CLUSTER, "changed", "2"), gone)
        await client.until(lambda: len(sizes) == 2)
        served.push(kept, resource(types.CLUSTER, "changed", "3"))
        client.answering.set()
        await client.until(lambda: client.names(types.CLUSTER) == ["changed", "kept"])
        assert client.held[types.CLUSTER]["changed"] == resource(types.CLUSTER, "changed", "3").version
        assert sizes == [3, 1, 2]
        await client.close()


async def test_state_of_the_world_play(directory: Path) -> None:
    """Every response holds the whole type; a refused one leaves the client with what it had."""
    served = Served(directory, resource(types.LISTENER, "a"), resource(types.ENDPOINT, "e"))
    async with served, connect(served.targets[0]) as channel:
        client = SotwClient(channel, NODE, claim(WEB.uri(TRUST_DOMAIN)))
        await client.subscribe(types.LISTENER)
        await client.until(lambda: client.names(types.LISTENER) == ["a"])
        await client.subscribe(types.ENDPOINT, ("e",))
        await client.until(lambda: client.names(types.ENDPOINT) == ["e"])
        client.refuse = lambda response: "no" if len(response.resources) == 3 else ""
        served.push(*(resource(types.LISTENER, name) for name in "abc"), resource(types.ENDPOINT, "e"))
        await until(lambda: ("nacked", "web-0", "no") in served.heard.events)
        served.push(*(resource(types.LISTENER, name) for name in "ab"), resource(types.ENDPOINT, "e"))
        await client.until(lambda: client.names(types.LISTENER) == ["a", "b"])
        await client.close()
    assert ("nacked", "web-0", "no") in served.heard.events


async def test_a_refused_push_is_told_and_the_next_good_one_settles(directory: Path) -> None:
    """NACK and ACK reach the observer with the client's words; the bad version is not sent again."""
    async with Served(directory, resource(types.LISTENER, "a")) as served, connect(served.targets[0]) as channel:
        client = DeltaClient(channel, NODE, claim(WEB.uri(TRUST_DOMAIN)))
        bad = resource(types.LISTENER, "a", "bad").version
        client.refuse = lambda response: "no such filter" if response.resources[0].version == bad else ""
        await client.subscribe(types.LISTENER)
        await until(lambda: ("settled", "web-0", "1") in served.heard.events)
        served.push(resource(types.LISTENER, "a", "bad"))
        await until(lambda: ("nacked", "web-0", "no such filter") in served.heard.events)
        served.push(resource(types.LISTENER, "a", "good"), revision=3)
        await until(lambda: ("settled", "web-0", "3") in served.heard.events)
        await client.close()
    kinds = [event for event in served.heard.events if event[0] in {"settled", "nacked"}]
    assert kinds == [("settled", "web-0", "1"), ("nacked", "web-0", "no such filter"), ("settled", "web-0", "3")]


async def test_a_slow_sidecar_holds_up_nobody(directory: Path) -> None:
    """A client that takes nothing from its connection neither keeps another from its news nor piles responses up."""
    huge = "x" * 8_000_000
    served = Served(directory, resource(types.LISTENER, "a"))
    async with served, connect(served.targets[0]) as one, connect(served.targets[0]) as two:
        method: Any = one.stream_stream(f"/{ads.SERVICE}/DeltaAggregatedResources")
        stuck = method(metadata=claim(WEB.uri(TRUST_DOMAIN)))
        first = DeltaDiscoveryRequest(type_url=types.LISTENER)
        first.node.id = "sidecar~shop/web~stuck"
        await stuck.write(first.SerializeToString())
        client = DeltaClient(two, NODE, claim(WEB.uri(TRUST_DOMAIN)))
        await client.subscribe(types.LISTENER)
        await client.until(lambda: client.responses == 1)
        for number in range(3):
            served.push(resource(types.LISTENER, "a", f"{number}{huge}"))
            await client.until(lambda number=number: client.responses == number + 2)  # type: ignore[misc]  # bound at once
        assert [size < 1_000 for instance, size in served.heard.pushes if instance == "stuck"] == [True], "changes wait and merge"
        assert len([size for instance, size in served.heard.pushes if size > len(huge)]) == 3
        stuck.cancel()
        await client.close()


@pytest.mark.parametrize("over", ["target", "socket"])
async def test_a_sidecar_gets_its_own_configuration_over_tls(mesh: Mesh, over: str) -> None:
    """Over loopback and over the Unix socket, with a client certificate, a sidecar ends with exactly its snapshot."""
    async with connect(getattr(mesh, over), mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, NODE)
        await client.subscribe_to_everything()
        await until(lambda: mesh.heard.running.get("web-0") == mesh.in_force(WEB))
        await client.close()
    expected = mesh.publisher.snapshot(WEB)
    assert expected is not None
    assert {type_url: sorted(held) for type_url, held in client.held.items() if held} == {
        type_url: sorted(resources) for type_url, resources in expected.resources.items() if resources
    }


async def test_another_ones_configuration_is_refused_and_logged(mesh: Mesh) -> None:
    """The certificate counts, not the node: a forged identity gets nothing and is told so."""
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, "sidecar~shop/cart~cart-0")
        await client.subscribe(types.CLUSTER)
        error = await client.ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert mesh.heard.refusals[0][0] == str(WEB)
    assert "shop/cart" in mesh.heard.refusals[0][2]
    assert client.responses == 0


@pytest.mark.parametrize(
    "node",
    [
        "",
        "web",
        "sidecar~shop/web",
        "sidecar~shop/web~",
        "router~shop/web~0",
        "sidecar~shop/web~a\nb",
        "sidecar~shop/web~" + "x" * 200,
    ],
)
async def test_a_node_without_an_identity_is_refused(mesh: Mesh, node: str) -> None:
    """A node ID of another shape is an error of the sidecar, which is told the shape."""
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, node)
        await client.subscribe(types.CLUSTER)
        error = await client.ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "sidecar~namespace/account~instance" in (error.details() or "")


async def test_an_unknown_workload_is_told_what_to_do(mesh: Mesh) -> None:
    """A certificate for a workload that the topology does not have is good, and there is nothing to send."""
    async with connect(mesh.target, mesh.credentials(WorkloadId("shop", "new"))) as channel:
        client = DeltaClient(channel, "sidecar~shop/new~0")
        await client.subscribe(types.CLUSTER)
        error = await client.ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "topology" in (error.details() or "")


async def test_what_cannot_be_compiled_is_told_without_details(mesh: Mesh) -> None:
    """A mistake of the compiler ends one sidecar's stream, and its words stay in the log."""

    def broken(_: WorkloadId) -> Snapshot | None:
        raise CompileError("secret detail")

    mesh.cache._compile = broken
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, NODE)
        await client.subscribe(types.CLUSTER)
        error = await client.ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")


async def test_streams_of_a_workload_are_bounded(directory: Path, store: SqlStore) -> None:
    """One workload cannot take all the room; another one still gets in, and an ended stream makes room."""
    async with running_mesh(directory, store, stream_limit=2) as mesh, connect(mesh.target, mesh.credentials(WEB)) as channel:
        clients = [DeltaClient(channel, f"sidecar~shop/web~{number}") for number in range(2)]
        for client in clients:
            await client.subscribe(types.CLUSTER)
            await client.until(lambda client=client: client.responses > 0)  # type: ignore[misc]  # bound at once
        error = await DeltaClient(channel, "sidecar~shop/web~2").ended()
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with connect(mesh.target, mesh.credentials(CART)) as others:
            other = DeltaClient(others, "sidecar~shop/cart~0")
            await other.subscribe(types.CLUSTER)
            await other.until(lambda: other.responses > 0)
            await other.close()
        await clients[0].close()
        await until(lambda: ("disconnected", "0") in mesh.heard.events)
        again = DeltaClient(channel, "sidecar~shop/web~0")
        await again.subscribe(types.CLUSTER)
        await again.until(lambda: again.responses > 0)
        await again.close()
        await clients[1].close()


async def test_a_stream_without_a_request_ends(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens a stream and says nothing does not hold it for ever."""
    monkeypatch.setattr(ads, "FIRST_REQUEST_SECONDS", 0.05)
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        error = await DeltaClient(channel, NODE).ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_stopping_ends_streams_with_advice(mesh: Mesh) -> None:
    """A control plane that stops says so, and forgets the streams."""
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, NODE)
        await client.subscribe(types.CLUSTER)
        await client.until(lambda: client.responses > 0)
        mesh.end_streams()
        error = await client.ended()
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        late = DeltaClient(channel, NODE)
        error = await late.ended()
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert mesh.heard.events[-1] == ("disconnected", "web-0")


async def test_a_stream_ends_also_while_something_is_written_to_it(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC refuses to end a call with half a write; the peer would wait for ever."""
    heard = mesh.heard.sent

    def sent(stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        heard(stream, type_url, size_bytes, snapshot)
        mesh.end_streams()

    monkeypatch.setattr(mesh.heard, "sent", sent)
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        client = DeltaClient(channel, NODE)
        await client.subscribe(types.CLUSTER)
        # The client's own answer may fail first, so which error it gets is left open.
        assert await client.ended() is not None
    assert client.responses == 1


async def test_a_change_reaches_whom_it_concerns_and_everybody_gets_its_revision(mesh: Mesh) -> None:
    """An approval pushes to both ends of the edge; the third service is told nothing and still counts as up to date."""
    workloads = (WEB, CART, DB)
    channels = [connect(mesh.target, mesh.credentials(workload)) for workload in workloads]
    clients = [DeltaClient(channel, f"sidecar~{of}~{of.account}") for channel, of in zip(channels, workloads, strict=True)]
    for client in clients:
        await client.subscribe_to_everything()

    def up_to_date() -> bool:
        return all(mesh.heard.running.get(workload.account) == mesh.in_force(workload) for workload in workloads)

    review = Review(mesh.store, mesh.publisher, lambda: NOW_MS)
    names = [ServiceName("shop", workload.account) for workload in workloads]
    assert isinstance(await asyncio.to_thread(review.modes.change, names, Mode.ENFORCE, "ana"), Done)
    await until(up_to_date)
    before = [client.responses for client in clients]
    await asyncio.to_thread(allow, mesh, "shop/web", "shop/cart", 7070)
    await until(up_to_date)
    assert {revision for _, revision in mesh.heard.running.values()} == {1}
    told = [client.responses > count for client, count in zip(clients, before, strict=True)]
    assert told == [True, True, False]
    for client, channel in zip(clients, channels, strict=True):
        await client.close()
        await channel.close()


def allow(mesh: Mesh, source: str, destination: str, port: int) -> None:
    """Learn an edge and approve it."""
    flow = Flow(EdgeKey(source, destination, port, "http", "GET"), Verdict.ALLOWED, destination, "in", 1, NOW_MS, NOW_MS)
    with mesh.store.transaction() as transaction:
        transaction.record_batch(destination, "x", "a" * 32, 1, [flow], 0, NOW_MS)
    review = Review(mesh.store, mesh.publisher, lambda: NOW_MS)
    proposal = review.refresh_proposal()
    assert proposal is not None
    assert isinstance(review.approve(proposal.number, "ana"), Published)


TEXTS = st.one_of(st.text(max_size=40), st.sampled_from([*types.SHORT_NAMES, "*", NODE, "x" * 600]))
REQUESTS = st.builds(
    DeltaDiscoveryRequest,
    type_url=TEXTS,
    response_nonce=TEXTS,
    resource_names_subscribe=st.lists(TEXTS, max_size=5),
    resource_names_unsubscribe=st.lists(TEXTS, max_size=5),
    initial_resource_versions=st.dictionaries(TEXTS, TEXTS, max_size=5),
)


BODIES = st.lists(
    st.one_of(REQUESTS.map(lambda request: request.SerializeToString()), st.binary(max_size=60)), min_size=1, max_size=6
)


async def test_no_request_breaks_the_server(directory: Path) -> None:
    """Whatever a peer sends, it gets an answer or a clear status, never a trace of the server, and the next peer is served."""
    first = DeltaDiscoveryRequest(type_url=types.CLUSTER, node=base_pb2.Node(id=NODE)).SerializeToString()
    metadata = claim(WEB.uri(TRUST_DOMAIN))

    async with Served(directory, resource(types.CLUSTER, "a"), resource(types.LISTENER, "l")) as served:
        with grpc.insecure_channel(served.targets[0]) as channel:

            @settings(max_examples=80, deadline=None)
            @given(bodies=BODIES)
            def play(bodies: list[bytes]) -> None:
                for method in ("DeltaAggregatedResources", "StreamAggregatedResources"):
                    open_stream: Any = channel.stream_stream(f"/{ads.SERVICE}/{method}")
                    call = open_stream(iter([first, *bodies]), metadata=metadata, timeout=20)
                    with suppress(grpc.RpcError):
                        list(call)
                    assert call.code() in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, call.details()
                open_stream = channel.stream_stream(f"/{ads.SERVICE}/DeltaAggregatedResources")
                assert len(list(open_stream(iter([first]), metadata=metadata, timeout=20))) == 1

            # Hypothesis wants a function that is not async, so the client is not either.
            await asyncio.to_thread(play)
    assert not served.heard.refusals
