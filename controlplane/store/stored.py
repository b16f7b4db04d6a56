"""What is read from a store and written to it, as frozen values. Knows no database and no transaction."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from controlplane.flows.model import Verdict, Violation
from controlplane.policy.accounts import Caller
from controlplane.violations.histogram import Point
from controlplane.violations.query import Term

#: So long after reports went missing for the last time a sidecar is told as blind; what goes missing later is another gap.
GAP_TOLD_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """An immutable approved allow-list. ``document`` is JSON text as `policy.documents` writes it."""

    number: int
    created_ms: int
    author: str
    note: str
    document: str


@dataclass(frozen=True, slots=True)
class StoredSession:
    """Somebody who is signed in to the console; without ``user`` it is the owner. ``hash`` is that of the session's key.

    ``proof`` is what the owner came in by; a user has one of its own.
    """

    hash: str
    user: Caller | None
    begun_ms: int
    expires_ms: int
    proof: str = ""


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """A sign-in that an identity provider has to answer: hashes of its state and of what the browser keeps."""

    state: str
    browser: str
    begun_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class StoredProposal:
    """A learned change awaiting review. ``document`` is JSON text as `policy.proposals` writes it.

    ``status`` is open, approved, rejected or superseded.
    """

    number: int
    created_ms: int
    status: str
    base_revision: int
    document: str
    decided_ms: int | None = None
    decided_by: str = ""
    comment: str = ""
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class SidecarRow:
    """The last known state of one sidecar. Times are Unix milliseconds, ``None`` when it never happened.

    ``plane`` is the control plane that it is, or was last, connected to;
    ``image_digest`` is what the sidecar says of its application, ``address`` where it called from; empty where not known.
    Reports went missing from ``blind_since_ms`` to ``gap_ms``, or about then.
    ``bundle`` is the fingerprint of the roots that it took, ``issuer`` the name of the key that signed its certificate.
    """

    workload: str
    instance: str
    connected: bool = False
    connected_ms: int | None = None
    sent_version: str = ""
    acked_version: str = ""
    revision: int = 0
    nack_type: str = ""
    nack_message: str = ""
    nack_ms: int | None = None
    last_report_ms: int | None = None
    blind_since_ms: int | None = None
    gap_ms: int | None = None
    lost: int = 0
    agent_version: str = ""
    envoy_version: str = ""
    capture: str = ""
    certificate_not_after_ms: int | None = None
    plane: str = ""
    image_digest: str = ""
    address: str = ""
    bundle: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class ViolationFilter:
    """Which violations to read; empty fields match everything. ``after_id`` is exclusive.

    ``before`` goes on, newest first, after the violation with this last use (Unix milliseconds) and ID. ``until_ms`` is not in the
    span itself. All ``terms`` hold, beside the other fields. Connections that a sidecar was asked to try (`policy.proofs`) are
    left out, unless ``probes`` asks for them.
    """

    after_id: int = 0
    since_ms: int = 0
    until_ms: int = 0
    source: str = ""
    destination: str = ""
    verdict: Verdict | None = None
    port: int | None = None
    text: str = ""
    before: tuple[int, int] | None = None
    terms: tuple[Term, ...] = ()
    probes: bool = False


@dataclass(frozen=True, slots=True)
class ViolationPage:
    """Some violations, newest first. ``before`` is what the next page's filter gets; ``None`` after the last.

    ``was_cut``: the page ended because enough was looked through, not because it is full.
    """

    violations: tuple[Violation, ...]
    before: tuple[int, int] | None
    was_cut: bool = False


@dataclass(frozen=True, slots=True)
class ViolationCounts:
    """How often violations were seen, by time; times are exact to ``width_ms``. Not complete: only the newest were counted."""

    points: tuple[Point, ...]
    width_ms: int
    is_complete: bool

    @property
    def total(self) -> int:
        """The sum."""
        return sum(point.count for point in self.points)


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call that is done once. ``status`` is ``None`` until it ended, ``body`` where its answer is not kept."""

    fingerprint: str
    status: int | None = None
    media_type: str = ""
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """What became of a telemetry batch."""

    stored: bool  # False: it was stored before and is only acknowledged again
    gap: int = 0  # batches missing before this one
    violations: tuple[Violation, ...] = field(default=())  # rows it went to, with the counts and times of this batch alone


class Prunable(enum.StrEnum):
    """What grows without end unless it is removed. Revisions, decided proposals and audit events are kept for ever."""

    VIOLATIONS = "violations"
    VIOLATION_HOURS = "violation-hours"
    INCIDENTS = "incidents"  # with their notes
    HISTORY = "history"
    EDGES = "edges"
    SUPERSEDED_PROPOSALS = "superseded-proposals"
    SIDECARS = "sidecars"  # that are not connected, with what their reports said of them
    EPOCHS = "epochs"  # the numbers by which a batch that comes again is known
    PROOFS = "proofs"  # but for the newest of each target
    JOIN_TOKENS = "join-tokens"  # that are used or expired
    APPROVALS = "approvals"  # that count no more
    CALLS = "calls"  # whose keys are kept, so that they are done once
