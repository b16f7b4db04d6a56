"""One real Envoy for each module that asks for it: starting one costs more than most tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.controlplane.xds.inbound_world import InboundWorld, inbound_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inbound() -> AsyncIterator[InboundWorld]:
    """An Envoy that lets requests in."""
    async with inbound_world() as world:
        yield world
