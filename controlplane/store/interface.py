"""What the rest of Picket asks of a store. Knows no database; implementations live beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from controlplane.flows.model import EdgeKey, Flow, HourlyFlow, LearnedEdge, Violation
from controlplane.graph.evidence import Evidence
from controlplane.graph.watch import Watch
from controlplane.policy.accounts import AccessToken, Account, Scope
from controlplane.policy.approvals import Approval, Comment
from controlplane.policy.asks import Ask
from controlplane.policy.audit import AuditEvent
from controlplane.policy.grants import Grant
from controlplane.policy.leases import EdgeLease
from controlplane.policy.proofs import Proof
from controlplane.policy.rollouts import Rollout
from controlplane.policy.rules import Mode
from controlplane.policy.timeline import ModeSet
from controlplane.policy.traffic_policy import Held
from controlplane.store.stored import (
    BatchReceipt,
    BegunSignIn,
    Prunable,
    SidecarRow,
    StoredCall,
    StoredProposal,
    StoredRevision,
    StoredSession,
    ViolationCounts,
    ViolationFilter,
    ViolationPage,
)
from controlplane.topology.model import ServiceName
from controlplane.violations.handling import Incident, Note
from controlplane.violations.incidents import Found, Use


class StoreError(Exception):
    """The database refused or is not usable; the message says what to do, the cause is the vendor's."""


class Transaction(Protocol):
    """Writes that become visible together or not at all."""

    def record_batch(
        self, workload: str, instance: str, epoch: str, sequence: int, flows: Sequence[Flow], lost: int, now_ms: int
    ) -> BatchReceipt:
        """Store one batch: edges and their evidence (allowed flows), violations (the others), gaps, losses, and that it was heard.

        What a sidecar was asked to try (`add_proof`) is no use of an edge, and its denial is noted with the proof.
        Idempotent by (workload, instance, epoch, sequence). An empty instance is no sidecar's: nothing is said of one.
        Violations with the same edge, verdict, reporter, direction, deny ID, host, server name and peer address within
        `violation_window_ms` add to one row.
        """

    def add_revision(self, author: str, note: str, document: str, now_ms: int) -> StoredRevision:
        """Append the next revision; numbers count from 1."""

    def add_proposal(self, base_revision: int, document: str, now_ms: int) -> StoredProposal:
        """Append an open proposal; numbers count from 1."""

    def decide_proposal(
        self,
        number: int,
        status: str,
        decided_by: str,
        comment: str,
        revision: int | None,
        now_ms: int,
        document: str | None = None,
    ) -> bool:
        """Close an open proposal; False when it is not open. ``document`` is what the decision is about, where that is a part."""

    def set_mode(self, service: ServiceName, mode: Mode, now_ms: int) -> None:
        """Set a service's mode, and remember since when it holds."""

    def note_default_mode(self, mode: Mode, now_ms: int) -> None:
        """Remember since when services without a mode of their own have this one."""

    def set_active_revision(self, number: int) -> None:
        """Make a stored revision the one in force."""

    def add_audit(self, actor: str, action: str, subject: str, detail: str, now_ms: int) -> AuditEvent:
        """Append an audit event to the chain (`policy.audit`); ids count from 1 without gaps."""

    def add_grant(self, grant: Grant) -> Grant:
        """Store a timed exception under the next number; numbers count from 1."""

    def end_grant(self, grant_id: int, ended_by: str, now_ms: int) -> bool:
        """Mark a timed exception as ended; False when it had ended, or there is none."""

    def add_ask(self, ask: Ask) -> Ask:
        """Store an edge that is asked for under the next number; numbers count from 1."""

    def close_asks(self, asks: Sequence[int], closed_by: str, now_ms: int) -> None:
        """Mark some as decided; those that are already stay as they are."""

    def add_approvals(self, approvals: Iterable[Approval]) -> None:
        """Keep approvals; one that is given again is new again."""

    def drop_approvals(self, questions: Collection[str]) -> None:
        """Forget who agreed to some questions: they are decided."""

    def drop_approvals_by(self, actor: str) -> None:
        """Forget what somebody agreed to and others still have to: whose word it was has changed."""

    def add_comment(self, comment: Comment) -> Comment:
        """Store a comment under the next number; numbers count from 1."""

    def set_leases(self, leases: Iterable[EdgeLease]) -> None:
        """Set leases of approved edges, each in place of the one before."""

    def keep_last_uses(self, uses: Mapping[Held, int]) -> None:
        """Keep when approved edges were last used (Unix milliseconds), for when their uses are not kept any more."""

    def lock_rollouts(self) -> None:
        """Nobody else begins a rollout until this transaction ends; what is read after it holds until then."""

    def add_rollout(self, rollout: Rollout) -> Rollout:
        """Store a staged rollout under the next number; numbers count from 1."""

    def move_rollout(self, before: Rollout, after: Rollout) -> bool:
        """Put a staged rollout into another state; False when its status or stage is not that of ``before`` any more.

        Who paused it is not written.
        """

    def pause_rollout(self, rollout_id: int, paused_by: str) -> bool:
        """Hold up a running rollout, or with an empty name let it go on; False when it has ended."""

    def add_proof(self, proof: Proof) -> Proof | None:
        """Store a proof of enforcement under the next number; None where one of the same target is open. Numbers count from 1."""

    def move_proof(self, before: Proof, after: Proof) -> bool:
        """Put a proof into another state; False when its status or answer is not that of ``before`` any more.

        Its violation is not written: only `record_batch` does.
        """

    def lock_incidents(self, since_ms: int) -> Sequence[Incident]:
        """Those last seen since then; nobody else groups any until this transaction ends."""

    def add_incident(self, incident: Incident) -> Incident:
        """Store an incident under the next number; numbers count from 1."""

    def grow_incident(self, incident_id: int, found: Found) -> None:
        """Replace what was found of an incident; what people did about it stays."""

    def handle_incident(self, before: Incident, after: Incident) -> bool:
        """Replace what people did about an incident; False when its status or assignee is not that of ``before`` any more."""

    def add_note(self, note: Note) -> None:
        """Store what somebody did about an incident, or wrote down."""

    def add_join_token(self, token_hash: str, workload: str, expires_ms: int, now_ms: int) -> None:
        """Remember a join token by its hash."""

    def use_join_token(self, token_hash: str, now_ms: int) -> str | None:
        """Use a token up; the workload it is for, or None when unknown, used or expired."""

    def add_account(self, account: Account) -> bool:
        """Store a user; False when the name is taken."""

    def set_account_scope(self, name: str, scope: Scope) -> bool:
        """Set what a user may do; False when there is none."""

    def set_account_password(self, name: str, password: str) -> bool:
        """Set the hash of a user's password; False when there is none."""

    def remove_account(self, name: str) -> bool:
        """Remove a user with its tokens; False when there is none."""

    def add_access_token(self, token: AccessToken) -> AccessToken | None:
        """Store a token under the next number; numbers count from 1. None when there is no such user."""

    def revoke_access_token(self, token_id: int, now_ms: int) -> str | None:
        """Mark a token as revoked; its account, None when it was or there is none."""

    def use_access_token(self, token_id: int, now_ms: int) -> None:
        """Note a token's last use."""

    def begin_session(self, session: StoredSession, keep: int) -> None:
        """Sign somebody in to the console; sessions that are over go, and all but the ``keep`` newest."""

    def end_session(self, session_hash: str) -> None:
        """Sign out."""

    def begin_sign_in(self, begun: BegunSignIn, keep: int) -> None:
        """Keep a sign-in until it is answered; those that are over go, and all but the ``keep`` newest."""

    def take_sign_in(self, state: str) -> BegunSignIn | None:
        """Use a sign-in up."""

    def begin_call(self, actor: str, key: str, fingerprint: str, now_ms: int, keep: int) -> StoredCall | None:
        """Take a key for a call, and drop all but the actor's newest ``keep``; the call that has it, ``None`` when it was free."""

    def end_call(self, actor: str, key: str, status: int, media_type: str, body: bytes | None) -> None:
        """Keep how a call ended."""

    def forget_call(self, actor: str, key: str) -> None:
        """Give a call's key back."""

    def save_sidecars(self, rows: Iterable[SidecarRow]) -> None:
        """Insert or replace sidecar states by (workload, instance).

        That one is not connected says nothing where it is connected to another control plane than the row's.
        """

    def beat(self, plane: str, now_ms: int, alive_since_ms: int) -> bool:
        """Say that a control plane is there; nobody is connected any more to those that said nothing since then.

        ``False`` when it counted as gone itself, or is new: none of its sidecars is connected any more, then.
        """

    def leave(self, plane: str) -> None:
        """A control plane ends, and its sidecars' connections with it."""


class Store(Protocol):
    """Everything that is kept. Safe to call from several threads."""

    violation_window_ms: int
    is_shared: bool  # whether other control planes may work on it, too

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a write transaction; it commits on leaving without an exception."""

    def changes_by_others(self) -> AsyncIterator[None]:
        """One item whenever another control plane changed what is in force, or may have; never ends where it is shared."""

    def edges(self, before_ms: int | None = None) -> Sequence[LearnedEdge]:
        """All learned edges, or those that were last used before a time, ordered by key."""

    def evidence(self) -> Mapping[EdgeKey, Evidence]:
        """What is known of the use of each learned edge; HTTP paths are shapes (`graph.pathshape`). Nobody changes it.

        Evidence that is as it was when it was read last may be the very object.
        """

    def history(self, since_hour: int, limit: int) -> Sequence[HourlyFlow]:
        """Uses by the hour from that hour on (hours since the epoch), newest hour first."""

    def watches(self) -> Mapping[str, Watch]:
        """When each service was watched, by its name."""

    def overflowing(self) -> frozenset[str]:
        """Sources with more edges than are kept; ``ip:`` stands for all peers without identity."""

    def violations(self, wanted: ViolationFilter, limit: int) -> Sequence[Violation]:
        """Matching violations, newest last seen first; with ``after_id``, in the order of their ids."""

    def violation_page(self, wanted: ViolationFilter, limit: int) -> ViolationPage:
        """Matching violations, newest last seen first, in bounded time however many are stored; ``after_id`` is not asked for."""

    def count_violations(self, wanted: ViolationFilter) -> ViolationCounts:
        """Counts of matching violations, in bounded time however many are stored.

        Beyond some thousand rows they are taken from hourly sums, where the filter asks only for source, destination, port,
        protocol, verdict and times: then whole hours count.
        """

    def last_violation_id(self) -> int:
        """The highest ID of a stored violation, 0 before the first: all with lower ones are to be seen."""

    def first_uses(self, sources: Iterable[str]) -> Mapping[Use, int]:
        """When each edge of these sources was first allowed, in Unix milliseconds, by source, destination and port."""

    def incidents(self, limit: int, before: int | None = None, *, is_open: bool) -> Sequence[Incident]:
        """Incidents, newest first; with ``is_open`` those that nobody closed."""

    def incident(self, number: int) -> Incident | None:
        """One incident."""

    def notes(self, incident_id: int, limit: int) -> Sequence[Note]:
        """The newest notes on an incident, oldest first."""

    def revisions(self, limit: int, before: int | None = None) -> Sequence[StoredRevision]:
        """Newest first; with ``before`` those of lower numbers, here and below."""

    def revision(self, number: int) -> StoredRevision | None:
        """One revision."""

    def revision_times(self) -> Mapping[int, int]:
        """When each revision was made, by number, in Unix milliseconds."""

    def active_revision(self) -> int:
        """The number of the revision in force; 0 before the first."""

    def modes(self) -> dict[ServiceName, Mode]:
        """Modes that were set."""

    def mode_changes(self) -> Sequence[ModeSet]:
        """Since when each mode holds, in the order of time."""

    def proposals(self, status: str | None, limit: int, before: int | None = None) -> Sequence[StoredProposal]:
        """Newest first."""

    def proposal(self, number: int) -> StoredProposal | None:
        """One proposal."""

    def grants(self, limit: int, before: int | None = None, *, active: bool) -> Sequence[Grant]:
        """Timed exceptions, newest first; with ``active`` those that have not ended."""

    def asks(self, limit: int, after: int = 0) -> Sequence[Ask]:
        """Edges that are asked for and await a decision, oldest first; with ``after`` those of higher numbers."""

    def approvals(self, questions: Collection[str], since_ms: int) -> Sequence[Approval]:
        """Who agreed to some questions since then, in the order in which they did."""

    def comments(self, edges: Collection[str]) -> Sequence[Comment]:
        """What was said about some edges ("source -> destination:port"), oldest first."""

    def leases(self) -> Sequence[EdgeLease]:
        """All leases that were ever set, also of edges that are not approved any more; by service, source and port."""

    def last_uses(self) -> Mapping[Held, int]:
        """When approved edges were last used that were kept by `Transaction.keep_last_uses`."""

    def rollouts(self, limit: int, before: int | None = None, *, running: bool) -> Sequence[Rollout]:
        """Staged rollouts, newest first; with ``running`` those that have not ended."""

    def proofs(
        self, limit: int, before: int | None = None, *, revision: int | None = None, open_only: bool = False
    ) -> Sequence[Proof]:
        """Proofs of enforcement, newest first; of one policy revision, or with ``open_only`` those that have not ended.

        With ``before`` those with lower numbers.
        """

    def newest_proofs(self) -> Sequence[Proof]:
        """The newest proof of each target, in no order."""

    def denials(self, workload: str) -> int:
        """How many uses a workload's sidecars ever reported as denied, at either end; proofs are left out."""

    def accounts(self) -> Sequence[Account]:
        """All local users, by name."""

    def account(self, name: str) -> Account | None:
        """One local user."""

    def session(self, session_hash: str) -> StoredSession | None:
        """The session of a hash, also when it is over."""

    def access_token(self, token_hash: str) -> AccessToken | None:
        """The token of a hash."""

    def access_token_by_id(self, token_id: int) -> AccessToken | None:
        """The token of a number."""

    def access_tokens(self, account: str | None = None) -> Sequence[AccessToken]:
        """All tokens or those of an account, newest first."""

    def sidecars(self) -> Sequence[SidecarRow]:
        """All sidecars ever seen, ordered by workload and instance."""

    def images(self) -> Sequence[SidecarRow]:
        """The sidecars that say which image their application runs."""

    def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEvent]:
        """Newest first."""

    def audit_after(self, event_id: int, limit: int) -> Sequence[AuditEvent]:
        """The next events, oldest first."""

    def prune(self, what: Prunable, bound: int, limit: int) -> int:
        """Remove at most ``limit`` rows in a transaction of its own; returns how many.

        Those that were last of use before ``bound`` (Unix milliseconds); of superseded proposals, all but the newest ``bound``.
        """

    def ping(self) -> None:
        """Raise StoreError when the database does not answer."""

    def close(self) -> None:
        """Release connections."""
