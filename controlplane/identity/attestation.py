"""What an attestation can come to: the platform that runs a workload says who it is. Asks nobody itself."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId


@dataclass(frozen=True, slots=True)
class Attested:
    """The platform vouches for this identity; ``instance`` is the replica that it named, ``uid`` what nobody else has ever had."""

    workload: WorkloadId
    instance: str
    uid: str


@dataclass(frozen=True, slots=True)
class NotAttested:
    """The proof is none; trying again with the same changes nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """The platform could not be asked now; trying again makes sense."""

    reason: str
