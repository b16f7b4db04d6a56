"""What should be in the mesh and is not, or not as a service of its own, with the reason. Decides nothing of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unmeshed:
    """A replica that should have a sidecar and has none; ``owner`` is what it was made for (``Deployment/cart``)."""

    namespace: str
    replica: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """``replicas`` without a sidecar, and ``notes`` on what cannot be told apart."""

    replicas: tuple[Unmeshed, ...] = ()
    notes: tuple[str, ...] = ()
