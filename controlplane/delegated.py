"""Identities within a running control plane whose mesh has them from the SPIFFE Workload API: nothing is signed or rotated here.

`rotating` is the same where the mesh has an authority of its own. Never asks the API itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from cryptography import x509

from controlplane.identity.generations import Step, fingerprint
from controlplane.metrics import Metrics
from controlplane.workflow.revisions import Refused, Why
from controlplane.workloadapi import WorkloadApiIdentity

ISSUES_NOTHING = (
    "this control plane signs no certificates: identities come from the SPIFFE Workload API; start the sidecar with "
    "--identity workload-api"
)
_NOT_HERE = (
    "the mesh has no authority of its own: its identities and roots come from the SPIFFE Workload API, where they are rotated"
)
_log = structlog.get_logger("picket.identity")


class Delegated:
    """Implements `identities.Identities`. Make it, `begin` it on the server's loop, let `run` go on beside the server."""

    issuer = None

    def __init__(self, identity: WorkloadApiIdentity) -> None:
        """``identity`` has been `started`."""
        self.authority = identity
        self._trusted = identity.bundle_pem
        self._changed = asyncio.Event()

    def measure(self, metrics: Metrics, lagging: Callable[[str], int]) -> None:
        """Have it measured; ``lagging`` counts sidecars here that did not take the roots of a fingerprint."""
        identity = self.authority
        text = "End of the control plane's identity from the Workload API, as Unix time"
        metrics.gauge("picket_identity_not_after_seconds", text, lambda: identity.current.not_after_seconds)
        metrics.gauge("picket_ca_roots", "Trusted roots", lambda: len(x509.load_pem_x509_certificates(identity.bundle_pem)))
        text = "Connected sidecars that have not taken the trusted roots of now"
        metrics.gauge("picket_sidecars_bundle_outdated", text, lambda: lagging(fingerprint(identity.bundle_pem)))

    def begin(self, trust: Callable[[bytes], None], *others: Callable[[], None]) -> None:
        """On the server's loop: ``trust`` hears of other roots in a thread, as it may wait, ``others`` of all, on the loop."""
        self._trust, self._others = trust, others
        self.authority.connect(self._changed.set)

    async def run(self) -> None:
        """Follow the API, and tell of what it sends, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.authority.run())
            tasks.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if (bundle := self.authority.bundle_pem) != self._trusted:
                await asyncio.to_thread(self._trust, bundle)
                self._trusted = bundle
                _log.info("other roots", count=len(x509.load_pem_x509_certificates(bundle)))
            for other in self._others:
                other()

    def state(self) -> Refused:
        """There is no authority here that could be shown."""
        return Refused(_NOT_HERE, Why.MISSING)

    def take(self, _step: Step, _actor: str, _reason: str, *, now: bool) -> Refused:  # noqa: ARG002  # as `rotating` has it
        """There is none that could be rotated, either."""
        return Refused(_NOT_HERE, Why.MISSING)

    def why_not_ready(self) -> str:
        """What keeps peers from believing this control plane; empty where nothing does."""
        return self.authority.why_not_ready()
