"""When the next step of the authority's rotation is taken, and what it waits for. Pure; takes none.

It waits for sidecars only as far as that costs nobody a request: the cross-signed certificates of `generations` carry who is late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controlplane.identity.generations import Generations, Step, key_id


@dataclass(frozen=True, slots=True)
class Terms:
    """How the mesh's authority is rotated.

    A new one is valid for ``lifetime``, and made so long (``lead``) before the active one ends, not by itself where that is zero.
    It signs once all connected sidecars trust it, and after ``overlap`` at the latest. Who reads the roots from a file (a mounted
    ConfigMap, Prometheus) has at least ``settle``: the kubelet looks about once a minute.
    """

    lifetime: timedelta
    lead: timedelta
    overlap: timedelta
    settle: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of sidecars: how many are connected, how many of those lack the roots of now, and who signed for them.

    ``issuers`` counts sidecars, connected or with a certificate that is still valid, by the name of the key that signed it.
    ``late`` names the first of those that the next step waits for.
    """

    connected: int = 0
    outdated: int = 0
    issuers: Mapping[str, int] = field(default_factory=dict)
    late: tuple[str, ...] = ()

    def showing(self, generations: Generations) -> int:
        """How many show a certificate of the root that is retired next."""
        return self.issuers.get(key_id(generations.old[-1].certificate), 0) if generations.old else 0


@dataclass(frozen=True, slots=True)
class Due:
    """A step is to be taken now."""

    step: Step


@dataclass(frozen=True, slots=True)
class Waits:
    """A step is not to be taken yet, why, and when it will be; ``at`` is ``None`` where nothing but a person brings it about."""

    step: Step
    reason: str
    at: datetime | None


def due(generations: Generations, terms: Terms, seen: Seen, now: datetime) -> Due | Waits:
    """What is to be done now."""
    step = generations.next_step
    if step is Step.ACTIVATE:
        return _activation(generations, terms, seen, now)
    if step is Step.RETIRE:
        return _retirement(generations, seen, now)
    if not terms.lead:
        return Waits(step, "it is not rotated by itself", None)
    at = generations.active.certificate.not_valid_after_utc - terms.lead
    return Due(step) if now >= at else Waits(step, "no rotation is under way", at)


def hindrance(generations: Generations, step: Step, seen: Seen) -> str:
    """Why a step that somebody asks for would cut sidecars off, or may; empty where it would not."""
    if step is Step.ACTIVATE and seen.outdated:
        return f"connected sidecars that lack the new root: {seen.outdated} of {seen.connected}"
    if step is Step.RETIRE and (showing := seen.showing(generations)):
        return f"sidecars that still have a certificate of the old root: {showing}"
    return ""


def _activation(generations: Generations, terms: Terms, seen: Seen, now: datetime) -> Due | Waits:
    assert generations.prepared is not None  # or it would not be the next step
    since = generations.prepared.since
    # Nothing is gained by waiting for longer than the active one lasts.
    latest = min(since + terms.overlap, generations.active.certificate.not_valid_after_utc - generations.longest)
    if now >= latest:
        return Due(Step.ACTIVATE)
    if reason := hindrance(generations, Step.ACTIVATE, seen):
        return Waits(Step.ACTIVATE, reason, latest)
    settled = min(since + terms.settle, latest)
    return (
        Due(Step.ACTIVATE)
        if now >= settled
        else Waits(Step.ACTIVATE, "who reads the roots from a file looks now and then", settled)
    )


def _retirement(generations: Generations, seen: Seen, now: datetime) -> Due | Waits:
    oldest = generations.old[-1]
    if now >= oldest.certificate.not_valid_after_utc:
        return Due(Step.RETIRE)
    if now < oldest.signed_until:
        return Waits(Step.RETIRE, "certificates of the old root may be valid until then", oldest.signed_until)
    if reason := hindrance(generations, Step.RETIRE, seen):
        return Waits(Step.RETIRE, reason, oldest.certificate.not_valid_after_utc)
    return Due(Step.RETIRE)
