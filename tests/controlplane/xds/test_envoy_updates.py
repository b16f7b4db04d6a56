"""What a change does to connections that are open, on a real Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from cryptography import x509

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import revise
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule
from controlplane.xds import names, types
from controlplane.xds.snapshot import Snapshot, resource_from_bytes
from tests.controlplane.xds.inbound_world import AUTO, CART, FRONT, HTTP, SHADY, SIDECAR, TARGET, TCP, InboundWorld, policy
from tests.harness.callers import http1

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Longer than anything here takes; nothing is asserted about time.
PATIENCE_SECONDS = 20.0


@dataclass
class Held:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, said: bytes, end: bytes) -> bytes:
        """Send, and what comes back up to ``end``; what came before the connection ended, if it did."""
        self.writer.write(said)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self.reader.readuntil(end)
        except asyncio.IncompleteReadError as error:
            return error.partial
        except ConnectionError:
            return b""

    async def get(self) -> bytes:
        """The status line of a request on this connection."""
        said = http1("GET", "/", "h.test").replace(b"connection: close\r\n", b"")
        head = await self.says(said, b"\r\n\r\n")
        if b"content-length: 19" in head:
            await self.reader.readexactly(19)
        elif b"content-length: 2\r" in head:
            await self.reader.readexactly(2)
        return head.partition(b"\r\n")[0]

    async def lives(self) -> bool:
        """Whether bytes still go through."""
        return await self.says(b"still there\n", b"\n") == b"still there\n"

    async def ends(self) -> None:
        """Wait until the other side closes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def held(
    inbound: InboundWorld, port: int, peer: WorkloadId | None, *, http: bool = False, source: str = ""
) -> AsyncIterator[Held]:
    """An open connection of a peer."""
    tls = inbound.tls(peer, port, http=http)
    reader, writer = await asyncio.open_connection(SIDECAR, port, ssl=tls, local_addr=(source, 0) if source else None)
    try:
        yield Held(reader, writer)
    finally:
        writer.transport.abort()


def enforced(*rules: Rule) -> Policy:
    """These rules, in force as the first revision."""
    return revise(Policy(0, {}, {TARGET: Mode.ENFORCE}), {TARGET: rules}, 1)


async def test_an_open_http_connection_obeys_a_new_allow_list_and_stays_open(inbound: InboundWorld) -> None:
    """By ECDS: no listener is drained, and a request that is allowed again goes through on the same connection."""
    allowed = enforced(Rule(FRONT, HTTP, (HttpMatch("GET"),)))
    revoked = revise(allowed, {TARGET: [Rule(FRONT, HTTP, (HttpMatch("POST"),))]}, 2)
    again = revise(revoked, {TARGET: [Rule(FRONT, HTTP)]}, 3)
    await inbound.envoy.publish(allowed)
    async with held(inbound, HTTP, FRONT) as connection:
        for wanted, status in ((allowed, b"200"), (revoked, b"403"), (again, b"200"), (revoked, b"403"), (allowed, b"200")):
            await inbound.envoy.publish(wanted)
            assert status in await connection.get()


@pytest.mark.parametrize("peer", [FRONT, None], ids=["mesh TLS", "plaintext"])
async def test_a_revoked_tcp_connection_is_closed_and_other_ports_are_left_alone(
    inbound: InboundWorld, peer: WorkloadId | None
) -> None:
    """The port's other connections are closed with it: Envoy drains a chain as a whole. Who is still listed comes back."""
    source = peer or AddressSource("127.1.0.0/16")
    before = enforced(Rule(source, TCP), Rule(CART, TCP), Rule(FRONT, AUTO))
    await inbound.envoy.publish(before)
    async with held(inbound, TCP, peer, source="127.1.2.3") as revoked, held(inbound, AUTO, FRONT) as elsewhere:
        assert await revoked.lives()
        assert await elsewhere.lives()
        await inbound.envoy.publish(revise(before, {TARGET: [Rule(CART, TCP), Rule(FRONT, AUTO)]}, 2))
        await revoked.ends()
        assert await elsewhere.lives()
        async with held(inbound, TCP, CART) as listed:
            assert await listed.lives()


async def test_an_approval_leaves_open_connections_alone(inbound: InboundWorld) -> None:
    before = enforced(Rule(FRONT, TCP))
    await inbound.envoy.publish(before)
    async with held(inbound, TCP, FRONT) as connection:
        assert await connection.lives()
        after = revise(before, {TARGET: [Rule(FRONT, TCP), Rule(CART, TCP), Rule(CART, HTTP)]}, 2)
        await inbound.envoy.publish(after)
        async with held(inbound, TCP, CART) as new:
            assert await new.lives()
        # A drain would have ended it by now.
        await asyncio.sleep(inbound.envoy.drain_seconds + 0.5)
        assert await connection.lives()


@pytest.mark.parametrize("peer", [SHADY, None], ids=["mesh TLS", "plaintext"])
async def test_enforcement_ends_tcp_connections_that_are_not_listed(inbound: InboundWorld, peer: WorkloadId | None) -> None:
    """They were let in while everything passed."""
    listed = Rule(FRONT, TCP)
    await inbound.envoy.publish(policy(listed, mode=Mode.AUDIT))
    async with held(inbound, TCP, peer) as stranger:
        assert await stranger.lives()
        await inbound.envoy.publish(policy(listed, mode=Mode.ENFORCE))
        await stranger.ends()


@pytest.mark.parametrize(("port", "http"), [(HTTP, True), (AUTO, True), (TCP, False)])
async def test_quarantine_ends_every_connection(inbound: InboundWorld, port: int, *, http: bool) -> None:
    """Also a stream that was open before, and whoever it belongs to."""
    rule = Rule(FRONT, port)
    await inbound.envoy.publish(policy(rule))
    async with held(inbound, port, FRONT, http=http) as connection:
        assert (await connection.get()).endswith(b"200 OK") if http else await connection.lives()
        await inbound.envoy.publish(policy(rule, mode=Mode.QUARANTINE))
        await connection.ends()


async def test_the_quarantine_of_a_listed_caller_ends_its_tcp_connections(inbound: InboundWorld) -> None:
    rules = Rule(FRONT, TCP), Rule(CART, TCP)
    await inbound.envoy.publish(policy(*rules))
    async with held(inbound, TCP, FRONT) as connection:
        assert await connection.lives()
        await inbound.envoy.publish(policy(*rules, barred=(FRONT,)))
        await connection.ends()
    async with held(inbound, TCP, CART) as listed:
        assert await listed.lives()


async def test_a_new_certificate_is_used_and_no_connection_is_dropped(inbound: InboundWorld) -> None:
    def serial(connection: Held) -> int:
        certificate = connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(certificate).serial_number

    await inbound.envoy.publish(policy(Rule(FRONT, TCP), Rule(FRONT, HTTP)))
    async with held(inbound, TCP, FRONT) as bytes_, held(inbound, HTTP, FRONT, http=True) as requests:
        assert await bytes_.lives()
        assert b"200" in await requests.get()
        inbound.envoy.rotate()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with held(inbound, TCP, FRONT) as new:
                    if serial(new) != serial(bytes_):
                        break
        assert await bytes_.lives()
        assert b"200" in await requests.get()


@pytest.mark.parametrize("type_url", [types.EXTENSION, types.LISTENER, types.SECRET])
async def test_a_refused_resource_leaves_the_last_good_in_place(inbound: InboundWorld, type_url: str) -> None:
    """Nothing is let in that was not, nothing is dropped that was let in, and the next good configuration is taken."""
    good = policy(Rule(FRONT, HTTP), Rule(FRONT, TCP), revision=7)
    await inbound.envoy.publish(good)
    running = inbound.envoy.cache.current(inbound.envoy.workload)
    broken_name = {
        types.EXTENSION: names.allow_list(HTTP, http=True, plaintext=False),
        types.LISTENER: f"inbound/{SIDECAR}/{HTTP}",
        types.SECRET: names.peers(TCP),
    }[type_url]
    resources = [resource for by_name in running.resources.values() for resource in by_name.values()]
    broken = resource_from_bytes(type_url, broken_name, b"\x0a\x03bad\x12\x04none", running.of_type(type_url)[broken_name].needs)
    inbound.envoy.cache.replace(
        {inbound.envoy.workload: Snapshot.of([*(r for r in resources if (r.type_url, r.name) != (type_url, broken_name)), broken])}
    )
    async with asyncio.timeout(PATIENCE_SECONDS), inbound.envoy.recorder.changed:
        await inbound.envoy.recorder.changed.wait_for(lambda: bool(inbound.envoy.recorder.nacks))
    assert inbound.envoy.recorder.nacks[0].type_url == type_url
    for peer, status, gets_through in ((FRONT, b"200", True), (SHADY, b"403", False)):
        async with held(inbound, HTTP, peer, http=True) as requests:
            assert status in await requests.get()
        async with held(inbound, TCP, peer) as bytes_:
            assert await _lives_or_is_refused(bytes_) is gets_through
    await inbound.envoy.publish(policy(Rule(SHADY, HTTP), revision=8))
    async with held(inbound, HTTP, SHADY, http=True) as requests:
        assert b"200" in await requests.get()


async def _lives_or_is_refused(connection: Held) -> bool:
    try:
        return await connection.lives()
    except OSError:  # the TLS alert
        return False
