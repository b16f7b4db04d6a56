"""Answers about what is reviewed beside proposals: readiness, exceptions, leases, wishes, rollouts and replays. Shapes only."""

from __future__ import annotations

import msgspec

from controlplane.api.schemas import HttpMatch


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A timed exception. ``http`` empty means whatever is sent; ``ended_ms`` is null while it is open."""

    id: int
    source: str
    destination: str
    port: int
    http: list[HttpMatch]
    reason: str
    ticket: str
    actor: str
    created_ms: int
    expires_ms: int
    ended_ms: int | None
    ended_by: str


class Grants(msgspec.Struct, frozen=True):
    """Newest first."""

    grants: list[Grant]
    next_cursor: str | None = None


class Granted(msgspec.Struct, frozen=True):
    """An exception that is in force, by a revision; ``note`` says where its source is not known (yet)."""

    grant: Grant
    revision: int
    note: str = ""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A service's way to enforce in stages: ``stage`` is one, share or all, ``status`` running, done, rolled-back or stopped.

    ``first`` is the instance that enforces first, ``before`` the mode that a rollback restores, ``taken_ms`` when all of the
    stage had it. Where a ``revision`` is rolled out, ``base`` was in force before, and all its rollouts are in the same stage.
    While it is ``paused_by`` somebody it does not go on.
    """

    id: int
    service: str
    before: str
    share_percent: int
    hold_seconds: int
    max_denials: int
    first: str
    actor: str
    created_ms: int
    stage: str
    stage_ms: int
    taken_ms: int | None
    status: str
    reason: str
    ended_ms: int | None
    ended_by: str
    paused_by: str
    revision: int | None
    base: int


class StagedSidecar(msgspec.Struct, frozen=True):
    """A connected sidecar of a rollout: whether the stage includes it, and its state (as in `Sidecar`)."""

    workload: str
    instance: str
    staged: bool
    state: str
    revision: int


class RolloutView(msgspec.Struct, frozen=True):
    """A rollout with those of the same revision, and their sidecars."""

    rollouts: list[Rollout]
    sidecars: list[StagedSidecar]


class Rollouts(msgspec.Struct, frozen=True):
    """Newest first."""

    rollouts: list[Rollout]
    next_cursor: str | None = None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A try whether a port of a sidecar drops what is forbidden: ``status`` is asked, trying, proven, failed or not-tried.

    ``revision`` was in force then, ``source`` tried it, ``told`` is what it saw; ``violation`` is the destination's report of it.
    """

    id: int
    service: str
    port: int
    address: str
    revision: int
    actor: str
    created_ms: int
    status: str
    source: str
    instance: str
    told: str
    violation: int | None
    deny_id: str
    reason: str
    ended_ms: int | None


class Proofs(msgspec.Struct, frozen=True):
    """By service, port and address; where all were asked for, or those of one revision, newest first."""

    revision: int
    proofs: list[Proof]
    next_cursor: str | None = None


class Interval(msgspec.Struct, frozen=True):
    """An estimate, and from where to where it holds in 95 of 100 cases."""

    low: float
    expected: float
    high: float


class Missing(msgspec.Struct, frozen=True):
    """One thing that was not seen: ``lack`` is days, weekdays, hours, month, gaps, lost, restart, denials or edges."""

    lack: str
    text: str


class UsedEdge(msgspec.Struct, frozen=True):
    """An edge down to the method and the shape of its path."""

    source: str
    destination: str
    port: int
    protocol: str
    method: str
    path: str


class ServiceReadiness(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a service (``service`` empty: of all), and what may still come. ``blocking`` is what the gate asks for.

    ``denials_a_day`` counts edges that would be denied on a day; null, as the two below it, where too little was watched to say.
    """

    service: str
    ready: bool
    summary: str
    edges: int
    full_days: int
    weekdays: list[int]
    hours_of_week: int
    gap_hours: int
    denials_a_day: Interval | None
    unseen_edges_at_least: int | None
    completeness: float | None
    seen_once: list[UsedEdge]
    weekly: list[UsedEdge]
    missing: list[Missing]
    blocking: list[Missing]


class Readiness(msgspec.Struct, frozen=True):
    """Of the whole graph, and of each service by name."""

    whole: ServiceReadiness
    services: list[ServiceReadiness]


class HeldEdge(msgspec.Struct, frozen=True, kw_only=True):
    """An approved edge with its lease; ``expires_ms`` is null where it has no end, ``last_used_ms`` where it was never used."""

    source: str
    destination: str
    port: int
    http: list[HttpMatch]
    owner: str
    reason: str
    ticket: str
    expires_ms: int | None
    actor: str
    since_ms: int | None
    last_used_ms: int | None


class Leases(msgspec.Struct, frozen=True):
    """By service, source and port."""

    leases: list[HeldEdge]
    next_cursor: str | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """An edge that somebody asked for; it stands in the open proposal until it is decided."""

    id: int
    source: str
    destination: str
    port: int
    http: list[HttpMatch]
    protocol: str
    actor: str
    reason: str
    link: str
    created_ms: int


class Asks(msgspec.Struct, frozen=True):
    """Oldest first."""

    asks: list[Ask]
    next_cursor: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """What became of a wish: ``state`` is asked, waiting (somebody asked before) or approved (nothing is missing).

    ``note`` says where its source is not known (yet).
    """

    state: str
    ask: Ask | None
    note: str = ""


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """Uses within one hour, which begins at ``at_ms``, that would have passed and been denied."""

    at_ms: int
    allowed: int
    denied: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An edge that would have been denied. ``path`` is one that was seen; ``reported`` is what the sidecar said last."""

    source: str
    destination: str
    port: int
    protocol: str
    method: str
    path: str
    deny_id: str
    count: int
    first_hour_ms: int
    last_hour_ms: int
    reported: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """``flows`` are edges in hours; ``unread`` of them name no workload or service, and ``complete`` is whether all were read."""

    days: int
    flows: int
    unread: int
    complete: bool
    allowed: int
    denied: int
    hours: list[Hour]
    refusals: list[Refusal]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar or the policy says of a use; ``rule`` is what allows it, empty where the mode does or nothing."""

    verdict: str
    deny_id: str
    rule: str


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """Uses of an edge of which a sidecar said something else than the policy that held.

    ``direction``: ``in`` for the destination's sidecar, ``out`` for the source's. ``revision`` and ``mode`` held last.
    """

    source: str
    destination: str
    port: int
    protocol: str
    method: str
    path: str
    direction: str
    reported: Word
    evaluated: Word
    revision: int
    mode: str
    count: int
    first_hour_ms: int
    last_hour_ms: int


class Unjudged(msgspec.Struct, frozen=True, kw_only=True):
    """So many uses that cannot be judged, and why, as a word and in words."""

    cause: str
    text: str
    count: int


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """``flows`` are edges in hours, ``complete`` is whether all were read; the rest counts uses."""

    days: int
    flows: int
    complete: bool
    agreed: int
    disagreed: int
    disagreements: list[Disagreement]
    unjudged: list[Unjudged]
