"""The demo's mesh: brought up from a plan, and watched. Starts things and waits for them; never judges what they do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from controlplane.api import places
from controlplane.demo import network
from controlplane.demo.certificate import make_certificate
from controlplane.demo.driver import Application, together
from controlplane.demo.plan import Placed, Plan
from controlplane.demo.plane import POLL_SECONDS, Plane
from controlplane.demo.processes import APPLICATION_USER, CONTROL_PLANE, Processes
from controlplane.demo.services.protocols import TLS
from controlplane.demo.tour import Stolen
from controlplane.demo.traces import Traces
from controlplane.topology.model import ServiceName

#: Sidecars that start at a time, for each processor: more would only make each other slow.
STARTING_PER_PROCESSOR = 4
CONTROL_PLANE_TIMEOUT_SECONDS = 60.0
#: What one sidecar and its application may take, beside others that start; one that ends is told at once.
SIDECAR_TIMEOUT_SECONDS = 90.0
#: A change is sent within milliseconds, and shows in the API within a fraction of a second.
UNCONCERNED_SECONDS = 2.0
Show = Callable[[str], None]


class MeshError(Exception):
    """A part did not come up, or ended; the message says which, and the end of its log."""


class _Identity(msgspec.Struct):
    """What a thief needs of a sidecar's `identity.json`."""

    key_pem: str
    chain_pem: str
    bundle_pem: str


class Mesh:
    """Everything that runs."""

    def __init__(self, plan: Plan, traces: Traces) -> None:
        self.plan = plan
        self.plane = Plane(f"unix:{traces.root}/api.sock")
        self.applications: Mapping[ServiceName, Application] = {
            place.service.name: Application(str(place.service.name), place.control) for place in plan.everybody
        }
        self._traces = traces
        hosts = {place.service.name.name for place in plan.placed.values() if any(p.protocol in TLS for p in place.service.ports)}
        owner = APPLICATION_USER if os.geteuid() == 0 else None
        certificate = make_certificate(traces.root, sorted(hosts), owner)
        self.authority_file = certificate[0]
        self.processes = Processes(plan, traces, certificate)

    @property
    def console_link(self) -> str:
        """Where a browser gets into the console: once and within an hour, and then for as long as it stays signed in."""
        return places.read_address(places.console_link_file(self.processes.data))

    async def start(self, show: Show) -> None:
        """Bring everything up.

        Raises:
            MeshError, network.NetworkError, OSError: something did not come up.
        """
        root = self._traces.root
        self.processes.control_plane(self.plane.server, f"unix:{root}/grpc.sock", f"unix:{root}/enroll.sock")
        if self.plan.capture == "redirect":
            show("making network namespaces")
            members = [(place.namespace, place.address) for place in self.plan.everybody]
            await asyncio.to_thread(network.create, self._traces.run, members)
        show("starting the control plane")
        await self.wait(CONTROL_PLANE, "ready", self.plane.is_ready, CONTROL_PLANE_TIMEOUT_SECONDS)
        room = asyncio.Semaphore(STARTING_PER_PROCESSOR * (os.cpu_count() or 1))
        done: list[Placed] = []

        async def start(place: Placed) -> None:
            async with room:
                await self._start(place)
                done.append(place)
                show(f"{len(done)} of {len(self.plan.everybody)} applications and their sidecars are up")

        await together(start(place) for place in self.plan.everybody)

    async def _start(self, place: Placed) -> None:
        name = str(place.service.name)
        if place in self.plan.intruders:
            self.processes.intruder(place)
        elif not place.service.meshed:
            self.processes.service(place, None)
        else:
            join = self._traces.root / f"join-{place.index:03d}.json"
            _write_private(join, await self.plane.join_document(str(place.service.workload)))
            self.processes.service(place, join)
            await self.wait(name, "running what its sidecar was sent", lambda: self._runs(place), SIDECAR_TIMEOUT_SECONDS)
        connecting = asyncio.create_task(self.applications[place.service.name].connect())

        async def connected() -> bool:
            return connecting.done()

        try:
            await self.wait(name, "listening", connected, SIDECAR_TIMEOUT_SECONDS)
        finally:
            connecting.cancel()

    async def _runs(self, place: Placed) -> bool:
        """Whether a service's Envoy has taken what it was sent."""
        found = await self.plane.sidecars()
        return any(sidecar.workload == str(place.service.workload) and sidecar.state == "ack" for sidecar in found.sidecars)

    async def versions(self) -> dict[str, str]:
        """What each sidecar was sent last."""
        return {sidecar.workload: sidecar.sent_version for sidecar in (await self.plane.sidecars()).sidecars}

    async def settled(self, before: Mapping[str, str], since: float) -> bool:
        """Whether every sidecar has taken what a change (``since``, monotonic seconds) had it sent.

        A sidecar that the change does not concern is sent nothing: it counts once there was time for it to be told.

        Raises:
            MeshError: a sidecar refused it.
        """
        found = (await self.plane.sidecars()).sidecars
        for sidecar in found:
            if sidecar.nack is not None:
                raise MeshError(f"the Envoy of {sidecar.workload} refused its {sidecar.nack.type}: {sidecar.nack.message}")
        told = time.monotonic() - since > UNCONCERNED_SECONDS
        taken = [s for s in found if s.state == "ack" and (told or s.sent_version != before.get(s.workload))]
        return len(taken) == len(self.plan.meshed)

    async def wait(self, name: str, state: str, reached: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
        """Wait until the process of that name has come to a state.

        Raises:
            MeshError: it did not in time, or a process ended meanwhile.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await reached():
                    self.check()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            said = self.processes.last_words(name)
            raise MeshError(f"{name} is not {state} after {timeout_seconds:g} s; the end of its log: {said}") from error

    def check(self) -> None:
        """Notice processes that ended.

        Raises:
            MeshError: one has.
        """
        if ended := self.processes.ended():
            raise MeshError(ended[0])

    def steal(self) -> dict[ServiceName, Stolen]:
        """Every sidecar's identity, as whoever can read its disk would take it."""
        stolen = {}
        for place in self.plan.meshed:
            read = msgspec.json.decode((place.state / "identity.json").read_bytes(), type=_Identity)
            files = []
            for name, text in (("identity", read.key_pem + read.chain_pem), ("peers", read.bundle_pem)):
                file = self._traces.root / f"stolen-{place.index:03d}-{name}.pem"
                _write_private(file, text.encode())
                files.append(str(file))
            stolen[place.service.name] = Stolen(*files)
        return stolen

    async def close(self) -> None:
        """Disconnect from the applications; the processes go on."""
        for application in self.applications.values():
            await application.close()


def _write_private(file: Path, body: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(body)
