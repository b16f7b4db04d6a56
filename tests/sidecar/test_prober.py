"""What a sidecar tries for the control plane, and what it does not: over a real server, with tries that tests answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.authority import load_or_create
from controlplane.policy.proofs import Answer, Proof, Target
from controlplane.server import listen
from controlplane.server.authentication import Authenticator
from controlplane.server.instances import Instances
from controlplane.server.probes import Probes, Who
from controlplane.server.streams import OpenStreams
from controlplane.settings import parse_listen
from controlplane.topology.model import ServiceName
from protos.picket.v1.sidecar_pb2 import Probe
from sidecar import channel
from sidecar.identity import Identity
from sidecar.join import Join
from sidecar.prober import MAX_A_MINUTE, Prober, Seen, refusal
from tests.harness.directories import short_directory
from tests.harness.mesh import CART, TOPOLOGY, TRUST_DOMAIN, until
from tests.sidecar.uplinks import identity_of

MARK = "0123456789abcdef" * 2
GOOD: dict[str, Any] = {"mark": MARK, "address": "10.0.0.1", "port": 80, "workload": "shop/web", "alpn": "picket"}
DB = Target(ServiceName("shop", "db"), 3306, "10.0.0.3")


@pytest.mark.parametrize(
    "changed",
    [
        {"mark": ""}, {"mark": "x" * 32}, {"workload": "shop/cart"}, {"workload": "shop"}, {"workload": "../cart"},
        {"alpn": "h2"}, {"port": 0}, {"port": 65536}, {"address": "db.shop"}, {"address": "0.0.0.0"}, {"address": "::"},
        {"address": "224.0.0.1"}, {"address": "169.254.169.254"}, {"address": "fe80::1"}, {"address": "127.0.0.1"},
        {"address": "::1"}, {"address": "::ffff:127.0.0.1"}, {"address": "::ffff:169.254.169.254"}, {"address": "::ffff:0.0.0.0"},
    ],
)  # fmt: skip
def test_what_is_no_sidecar_of_the_mesh_is_not_dialled(changed: dict[str, object]) -> None:
    assert refusal(Probe(**GOOD), "shop/cart", loopback=False) == ""
    assert refusal(Probe(**(GOOD | changed)), "shop/cart", loopback=False)


def test_with_loopback_listeners_sidecars_are_there() -> None:
    assert refusal(Probe(**(GOOD | {"address": "127.0.10.3"})), "shop/cart", loopback=True) == ""


@given(st.binary(max_size=200))
def test_any_message_is_refused_or_dialled_as_it_says(body: bytes) -> None:
    probe = Probe()
    with suppress(Exception):  # what is no message is gRPC's to refuse
        probe.ParseFromString(body)
    assert refusal(probe, "shop/cart", loopback=True) or probe.workload != "shop/cart"


async def test_it_answers_what_it_is_asked_and_not_too_often() -> None:
    """Beyond its bound it says so, and dials nobody."""
    with short_directory() as directory:
        authority = load_or_create(directory / "ca", TRUST_DOMAIN)
        answers: list[tuple[Who, str, Answer, str]] = []
        probes = Probes(
            Authenticator(TRUST_DOMAIN), lambda *said: answers.append(said), lambda *_: None, OpenStreams(), Instances()
        )
        server = listen.mesh_server()
        server.add_generic_rpc_handlers((probes.handlers(),))
        credentials = listen.server_credentials(authority, (), client_certificates=True)
        target = listen.bind(server, parse_listen("127.0.0.1:0", "test"), credentials)
        await server.start()
        join = Join(target, target, TRUST_DOMAIN, str(CART), "", authority.bundle_pem.decode(), listen.SERVER_NAME, insecure=False)
        identity = identity_of(authority)
        dialled: list[Probe] = []

        async def attempt(probe: Probe, _: Join, used: Identity) -> Seen:
            assert used is identity
            dialled.append(probe)
            return Seen("refused", "TLS alert: certificate unknown")

        opened = channel.mesh_channel(join, identity)
        running = asyncio.create_task(Prober(join, "cart-0", loopback=False, attempt=attempt).stream(opened, None, identity))
        try:
            await until(lambda: probes.listening() == ((CART, "cart-0"),))
            for number in range(1, MAX_A_MINUTE + 2):
                probes.send(Proof(number, DB, 3, "", 5, source="shop/cart", instance="cart-0", mark=MARK), TOPOLOGY)
                await until(lambda wanted=number: len(answers) == wanted)  # type: ignore[misc]  # bound in the loop
            assert len(dialled) == MAX_A_MINUTE
            assert answers[0] == ((CART, "cart-0"), MARK, Answer.REFUSED, "TLS alert: certificate unknown")
            assert (answers[-1][2], "more than" in answers[-1][3]) == (Answer.UNREACHED, True)
            assert {(probe.http, probe.alpn, probe.port) for probe in dialled} == {(False, "picket", 3306)}
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await opened.close()
            await server.stop(2)


class _Heard(grpc.aio.ServerInterceptor):
    """Tells that a call came."""

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self._asked.set()
        return await continuation(details)


async def test_a_control_plane_that_gives_none_is_left_alone() -> None:
    with short_directory() as directory:
        asked = asyncio.Event()
        server = grpc.aio.server(interceptors=[_Heard(asked)])
        server.add_insecure_port(f"unix:{directory}/x.sock")
        await server.start()
        join = Join(f"unix:{directory}/x.sock", "", TRUST_DOMAIN, str(CART), "", "", "", insecure=True)
        identity = identity_of(load_or_create(directory / "ca", TRUST_DOMAIN))
        opened = channel.mesh_channel(join, identity)
        running = asyncio.create_task(Prober(join, "cart-0", loopback=True).stream(opened, None, identity))
        await asyncio.wait_for(asked.wait(), 20)
        # It has its refusal before the answer to a call that comes after it on the same connection.
        ask: Any = opened.unary_unary("/nobody/Nothing")
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(b"", timeout=20)
        assert not running.done()
        running.cancel()
        await asyncio.wait((running,))
        await opened.close()
        await server.stop(None)
