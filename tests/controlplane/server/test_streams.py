"""How long streams live: the certificate, the stop and the limit, each with the reason that the peer is told."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from controlplane.server.authentication import Authenticated
from controlplane.server.streams import EXPIRED, STOPPING, Ending, Life, OpenStreams
from tests.harness.mesh import CART, WEB

NOW = 1_000.0


async def live(streams: OpenStreams, peer: Authenticated, lives: list[Life]) -> Life:
    """A stream that waits until something ends it."""
    async with streams.life(peer) as life:
        lives.append(life)
        await asyncio.Event().wait()
    return life


async def test_the_certificates_end_is_the_streams() -> None:
    """A stream does not outlive the identity that it began with."""
    streams = OpenStreams(clock=lambda: NOW)
    life = await asyncio.wait_for(live(streams, Authenticated(WEB, NOW + 0.01), []), 20)
    assert life.ending == EXPIRED


async def test_an_expired_certificate_begins_nothing() -> None:
    """Also one that ended a moment ago."""
    streams = OpenStreams(clock=lambda: NOW)
    life = await asyncio.wait_for(live(streams, Authenticated(WEB, NOW - 1), []), 20)
    assert life.ending == EXPIRED


async def test_a_stop_ends_all_and_lets_none_begin() -> None:
    """Each is told that the control plane stops."""
    streams = OpenStreams()
    lives: list[Life] = []
    tasks = [asyncio.create_task(live(streams, Authenticated(of), lives)) for of in (WEB, CART)]
    await asyncio.sleep(0)
    streams.stop()
    assert [(await task).ending for task in tasks] == [STOPPING, STOPPING]
    assert streams.refusal(WEB) == STOPPING


async def test_the_first_reason_counts() -> None:
    """What comes later does not hide why a stream ended; after its end nothing can be said any more."""
    streams = OpenStreams()
    lives: list[Life] = []
    task = asyncio.create_task(live(streams, Authenticated(WEB), lives))
    await asyncio.sleep(0)
    first = Ending(grpc.StatusCode.UNAVAILABLE, "first")
    lives[0].end(first)
    streams.stop()
    assert (await task).ending == first
    lives[0].end(Ending(grpc.StatusCode.INTERNAL, "too late"))
    assert lives[0].ending == first


async def test_the_limit_is_of_one_workload() -> None:
    """Another workload gets in; an end makes room, also one by cancellation or by a mistake."""
    streams = OpenStreams(limit=2)
    peer = Authenticated(WEB)
    tasks = [asyncio.create_task(live(streams, peer, [])) for _ in range(2)]
    await asyncio.sleep(0)
    refusal = streams.refusal(WEB)
    assert refusal is not None
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert streams.refusal(CART) is None
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert streams.refusal(WEB) is None
    with pytest.raises(KeyError):
        async with streams.life(peer):
            raise KeyError
    assert streams.refusal(WEB) is None
    assert not streams._counts


async def test_a_timeout_of_the_body_is_its_own() -> None:
    """Only the stream's own end is swallowed."""
    with pytest.raises(TimeoutError):
        async with OpenStreams().life(Authenticated(WEB)), asyncio.timeout(0):
            await asyncio.Event().wait()
