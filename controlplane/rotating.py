"""The mesh's authority within a running control plane: who hears of its rotation, what is measured of it, steps by the API.

Decides no step: that is `workflow.rotation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from controlplane.identity.custody import Custody, Kept
from controlplane.identity.generations import Step, fingerprint
from controlplane.identity.mesh import MeshAuthority
from controlplane.metrics import Metrics
from controlplane.settings import Settings
from controlplane.store.interface import Store
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotated, Rotation

#: A step of a rotation is a file or an object written.
STEP_SECONDS = 60.0


class Rotating:
    """Make it, `begin` it on the server's loop, let `run` go on beside the server."""

    def __init__(self, settings: Settings, store: Store, custody: Custody, kept: Kept) -> None:
        """``kept`` is what ``custody`` holds."""
        self.authority = self.issuer = MeshAuthority(kept.generations)
        signed_for = timedelta(seconds=settings.svid_lifetime_seconds)
        alone = _alone(settings, store)
        self._rotation = Rotation(custody, kept, self.authority, store, settings.rotation, signed_for, alone=alone)
        self._loop: asyncio.AbstractEventLoop | None = None

    def measure(self, metrics: Metrics, lagging: Callable[[str], int]) -> None:
        """Have it measured; ``lagging`` counts sidecars here that did not take the roots of a fingerprint."""
        authority, gauge = self.authority, metrics.gauge

        def ends() -> float:
            return authority.generations.active.certificate.not_valid_after_utc.timestamp()

        gauge("picket_ca_not_after_seconds", "End of the authority that signs, as Unix time", ends)
        gauge(
            "picket_ca_roots",
            "Trusted roots: more than one while a rotation is under way",
            lambda: len(authority.generations.roots),
        )
        text = "Connected sidecars that have not taken the trusted roots of now"
        gauge("picket_sidecars_bundle_outdated", text, lambda: lagging(fingerprint(authority.bundle_pem)))

    def begin(self, trust: Callable[[bytes], None], *others: Callable[[], None]) -> None:
        """On the server's loop: ``trust`` hears of other roots in a thread, as it may wait, and then ``others`` on the loop."""
        loop = self._loop = asyncio.get_running_loop()

        def changed() -> None:
            trust(self.authority.bundle_pem)
            for other in others:
                loop.call_soon_threadsafe(other)

        self.authority.connect(changed)

    def why_not_ready(self) -> str:
        """Nothing: an authority that has ended does not start."""
        return ""

    async def run(self) -> None:
        """Take the steps that are due, and follow others, until cancelled."""
        await self._rotation.run()

    def state(self) -> Rotated:
        """How it stands. From any thread. Raises `StoreError`."""
        return self._rotation.state()

    def take(self, step: Step, actor: str, reason: str, *, now: bool) -> Rotated | Refused:
        """Take a step, from a thread that is not the loop's. Raises `StoreError`."""
        assert self._loop is not None  # the API is served after `begin`
        return asyncio.run_coroutine_threadsafe(self._rotation.take(step, actor, reason, now=now), self._loop).result(STEP_SECONDS)


def _alone(settings: Settings, store: Store) -> str:
    """Why the authority may not be rotated here; empty where it may."""
    if not store.is_shared or settings.kubernetes_ca_secret or settings.ca_directory is not None:
        return ""
    return (
        "control planes that share a database may each have a copy of the authority; to have it rotated, keep it in one place: a "
        "directory that all of them have (--ca-directory), or a Secret (--kubernetes-ca-secret)"
    )
