"""The delta ADS stream to the control plane: what it and `relayserver` say to each other. Reads none of it."""

from __future__ import annotations

import asyncio

import grpc

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from sidecar.channel import Metadata, Stream, open_stream
from sidecar.race import first
from sidecar.relayserver import RelayServer, Upstream

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#: A control plane that keeps an Envoy without any configuration waiting for longer counts as away.
STARVED_SECONDS = 3.0


class Configuration:
    """Keeps Envoy's subscriptions and the control plane in touch."""

    def __init__(self, relay: RelayServer) -> None:
        self._relay = relay

    async def stream(self, opened: grpc.aio.Channel, metadata: Metadata | None) -> str:
        """One stream after the other, for as long as they end because Envoy began anew. Returns why the agent ended the last.

        Raises:
            CallError: the control plane ended it, or went away.
        """
        while True:
            await self._relay.wanted()
            reason = await self._one(opened, metadata)
            if reason:
                return reason

    async def _one(self, opened: grpc.aio.Channel, metadata: Metadata | None) -> str:
        """Returns why the relay ended the stream: empty when another may follow at once."""
        stream = open_stream(
            opened, _METHOD, DeltaDiscoveryResponse, metadata=metadata, serialise=DeltaDiscoveryRequest.SerializeToString
        )
        upstream = self._relay.open_upstream()
        try:
            return await first(
                self._receive(stream, upstream), self._send(stream, upstream), self._notice_hunger(), _closed(upstream)
            )
        finally:
            stream.close()
            self._relay.upstream_closed(upstream)

    @staticmethod
    async def _send(stream: Stream[DeltaDiscoveryResponse], upstream: Upstream) -> str:
        while True:
            await stream.send(await upstream.requests.get())

    async def _receive(self, stream: Stream[DeltaDiscoveryResponse], upstream: Upstream) -> str:
        while True:
            self._relay.upstream_response(upstream, await stream.receive())

    async def _notice_hunger(self) -> str:
        await asyncio.sleep(STARVED_SECONDS)
        if not self._relay.starved:
            await asyncio.Event().wait()  # it did say something
        return f"the control plane says nothing, {STARVED_SECONDS:g} seconds after Envoy asked"


async def _closed(upstream: Upstream) -> str:
    await upstream.closed.wait()
    return upstream.reason
