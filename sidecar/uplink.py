"""The sidecar's connection to the control plane: configuration down, reports and announcements up, for ever. Stores nothing.

One channel at a time, with the identity that is current; another identity means another channel, and Envoy notices nothing
of it. Whatever fails is tried again with backoff; what does not mend by itself is logged as an error and tried again slowly.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import msgspec

from protos.picket.v1.sidecar_pb2 import AnnounceAck, SidecarInfo
from sidecar import channel
from sidecar.backoff import Backoff
from sidecar.channel import CallError
from sidecar.configuration import Configuration
from sidecar.identity import Identity
from sidecar.join import Join
from sidecar.prober import Prober
from sidecar.race import first
from sidecar.reports import Reports

#: A call of which this is known answers quickly; the control plane counts as away otherwise.
ANNOUNCE_TIMEOUT_SECONDS = 5.0
ANNOUNCE_CHECK_SECONDS = 15.0
#: What only a person can mend is tried again after so long.
LASTING_RETRY_SECONDS = 30.0
#: A connection that ends sooner counts as one more failure.
STABLE_SECONDS = 5.0
#: A control plane that does not take announcements may still take everything else.
_ANNOUNCEMENT_ONLY = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
_log = logging.getLogger("picket.uplink")


class Ended(msgspec.Struct, frozen=True):
    """A stream ended: ``reason`` for the log, empty where it was meant to; ``lasting`` when trying again changes nothing."""

    reason: str
    lasting: bool = False


class Uplink:
    """Keeps up the connection of one sidecar."""

    def __init__(
        self,
        join: Join,
        configuration: Configuration,
        reports: Reports,
        info: Callable[[Identity], SidecarInfo],
        prober: Prober | None = None,
    ) -> None:
        """``info`` says what the sidecar announces of itself now; without a ``prober`` it tries no forbidden connection."""
        self._join = join
        self._configuration = configuration
        self._reports = reports
        self._info = info
        self._prober = prober
        self._identity: Identity | None = None
        self._renewed = asyncio.Event()
        self._connected = asyncio.Event()
        self._connected_at = math.inf

    @property
    def is_connected(self) -> bool:
        """Whether the control plane answered on the present channel."""
        return self._connected.is_set()

    def use(self, identity: Identity) -> None:
        """Connect as this from now on."""
        self._identity = identity
        self._renewed.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff(0.2, 5.0)
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            assert self._identity is not None
            self._connected_at = math.inf
            ended = await self._with(self._identity)
            if time.monotonic() - self._connected_at > STABLE_SECONDS:
                backoff.reset()
            if ended is not None:
                await self._pause(ended, backoff)

    async def _with(self, identity: Identity) -> Ended | None:
        """One channel, until it fails or there is a new identity (then nothing is returned)."""
        opened = channel.mesh_channel(self._join, identity)
        try:
            return await first(self._until_renewed(), self._serve(opened, identity))
        finally:
            self._connected.clear()
            await opened.close()

    async def _until_renewed(self) -> None:
        await self._renewed.wait()

    async def _pause(self, ended: Ended, backoff: Backoff) -> None:
        """Wait before the next try, but not for longer than until there is another identity."""
        seconds = _lasting_pause_seconds() if ended.lasting else backoff.next_seconds()
        (_log.error if ended.lasting else _log.warning)(
            "control plane not reached target=%s again_in_seconds=%.1f reason=%r", self._join.control_plane, seconds, ended.reason
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._renewed.wait()
        self._renewed.set()

    async def _serve(self, opened: grpc.aio.Channel, identity: Identity) -> Ended:
        """Everything that goes over one channel."""
        said = self._info(identity)
        try:
            await self._announce(opened, said)
        except CallError as error:
            if error.code not in _ANNOUNCEMENT_ONLY:
                return Ended(str(error), error.lasting)
            _log.error("announcement refused reason=%r", str(error))
        self._connected.set()
        self._connected_at = time.monotonic()
        _log.info("control plane connected target=%s", self._join.control_plane)
        metadata = channel.mesh_metadata(self._join)
        prober = self._prober
        probes = [] if prober is None else [self._kept("probes", lambda: prober.stream(opened, metadata, identity))]
        return await first(
            self._kept("configuration", lambda: self._configuration.stream(opened, metadata)),
            self._kept("reports", lambda: self._reports.stream(opened, metadata)),
            self._announcements(opened, identity, said),
            *probes,
        )

    @staticmethod
    async def _kept(name: str, stream: Callable[[], Awaitable[str]]) -> Ended:
        """A stream, begun again as long as it is refused; returns when the connection is to be made anew."""
        while True:
            try:
                return Ended(f"{name}: {await stream()}")
            except CallError as error:
                if not error.lasting:
                    return Ended(f"{name}: {error}")
                _log.error("control plane refuses the %s again_in_seconds=%.0f reason=%r", name, LASTING_RETRY_SECONDS, str(error))
            await asyncio.sleep(_lasting_pause_seconds())

    async def _announcements(self, opened: grpc.aio.Channel, identity: Identity, said: SidecarInfo) -> Ended:
        """Tell what changed: soon after the start, when Envoy has told its version, then a few times a minute at most."""
        pause_seconds = 1.0
        while True:
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, ANNOUNCE_CHECK_SECONDS)
            now = self._info(identity)
            if now == said:
                continue
            said = now
            try:
                await self._announce(opened, now)
            except CallError as error:
                if not error.lasting:
                    return Ended(f"announcement: {error}")
                _log.error("announcement refused reason=%r", str(error))

    async def _announce(self, opened: grpc.aio.Channel, info: SidecarInfo) -> None:
        await channel.call_once(
            opened, "/picket.v1.Sidecars/Announce", info, AnnounceAck,
            metadata=channel.mesh_metadata(self._join), timeout_seconds=ANNOUNCE_TIMEOUT_SECONDS,
        )  # fmt: skip


def _lasting_pause_seconds() -> float:
    return Backoff(LASTING_RETRY_SECONDS, LASTING_RETRY_SECONDS).next_seconds()
