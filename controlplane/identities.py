"""Where a mesh's identities come from, as a running control plane sees it: `rotating` (its own authority) or `delegated`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from controlplane.identity.authority import Issuer, ServerIdentity
from controlplane.identity.generations import Step
from controlplane.metrics import Metrics
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotated


class Identities(Protocol):
    """Measured, then begun on the server's loop, then run beside the server."""

    @property
    def authority(self) -> ServerIdentity:
        """What the control plane shows, and whom it believes, as it is now."""

    @property
    def issuer(self) -> Issuer | None:
        """Who signs for sidecars; nobody does where they have their identities from elsewhere."""

    def measure(self, metrics: Metrics, lagging: Callable[[str], int]) -> None:
        """Have it measured; ``lagging`` counts sidecars here that did not take the roots of a fingerprint."""

    def begin(self, trust: Callable[[bytes], None], *others: Callable[[], None]) -> None:
        """On the server's loop: ``trust`` hears of other roots in a thread, as it may wait, and then ``others`` on the loop."""

    async def run(self) -> None:
        """Look after it, until cancelled."""

    def why_not_ready(self) -> str:
        """What keeps peers from believing this control plane; empty where nothing does."""

    def state(self) -> Rotated | Refused:
        """How the authority stands. From any thread. Raises `StoreError`."""

    def take(self, step: Step, actor: str, reason: str, *, now: bool) -> Rotated | Refused:
        """Take a step of its rotation, from a thread that is not the loop's. Raises `StoreError`."""
