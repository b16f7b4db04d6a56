"""The mesh's authority as it is now, for whoever signs by it or hands out its roots. Never decides when another one signs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from controlplane.identity.authority import BadCsr, CertificateAuthority, Svid
from controlplane.identity.generations import Generations, first_generation
from controlplane.identity.spiffe import WorkloadId


class MeshAuthority:
    """Implements `authority.Issuer`. Safe to ask from any thread; one thread at a time replaces."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._listeners: list[Callable[[], None]] = []

    @classmethod
    def of(cls, authority: CertificateAuthority) -> MeshAuthority:
        """One that never was rotated."""
        return cls(first_generation(authority))

    @property
    def generations(self) -> Generations:
        """All that are trusted, and which of them signs."""
        return self._generations

    @property
    def bundle_pem(self) -> bytes:
        """The trusted roots, that of who signs first."""
        return self._generations.bundle_pem

    @property
    def version(self) -> object:
        """See `authority.ServerIdentity.version`."""
        return self.bundle_pem

    def sign(self, csr_der: bytes, workload: WorkloadId, lifetime: timedelta, now: datetime) -> Svid | BadCsr:
        """See `authority.CertificateAuthority.sign`."""
        return self._generations.active.sign(csr_der, workload, lifetime, now)

    def issue_server(self, names: tuple[str, ...], lifetime: timedelta, now: datetime) -> tuple[bytes, bytes]:
        """See `authority.CertificateAuthority.issue_server`."""
        return self._generations.active.issue_server(names, lifetime, now)

    def connect(self, changed: Callable[[], None]) -> None:
        """Say who hears of other roots or another signer. Whoever replaces calls it."""
        self._listeners.append(changed)

    def replace(self, generations: Generations) -> None:
        """Sign and trust by these from now on."""
        before = self._generations.bundle_pem
        self._generations = generations
        if generations.bundle_pem != before:
            for changed in self._listeners:
                changed()
