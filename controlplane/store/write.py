"""A write transaction: batches of telemetry, revisions, proposals, tokens. Commits nothing itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection, or_, select, update

from controlplane.flows.model import Flow
from controlplane.policy.accounts import AccessToken, Account, Scope
from controlplane.policy.approvals import Approval, Comment
from controlplane.policy.asks import Ask
from controlplane.policy.audit import AuditEvent, link
from controlplane.policy.grants import Grant
from controlplane.policy.leases import EdgeLease
from controlplane.policy.proofs import Proof
from controlplane.policy.rollouts import Rollout
from controlplane.policy.rules import Mode
from controlplane.policy.traffic_policy import Held
from controlplane.store import tables
from controlplane.store.accounts import (
    change_account,
    delete_account,
    insert_access_token,
    insert_account,
    revoke_access_token,
    use_access_token,
)
from controlplane.store.agreement import delete_approvals, delete_approvals_by, insert_comment, upsert_approvals
from controlplane.store.asks import close_asks, insert_ask
from controlplane.store.calls import begin_call, end_call, forget_call
from controlplane.store.grants import end_grant, insert_grant
from controlplane.store.incidents import grow_incident, handle_incident, insert_incident, insert_note, lock_incidents
from controlplane.store.interface import StoreError
from controlplane.store.leases import upsert_last_uses, upsert_leases
from controlplane.store.presence import beat, leave
from controlplane.store.proofs import insert_proof, move_proof
from controlplane.store.recording import Recording, Stored
from controlplane.store.rollouts import insert_rollout, move_rollout, pause_rollout
from controlplane.store.sessions import delete_session, insert_session, insert_sign_in, take_sign_in
from controlplane.store.statements import lock_number, next_number, upsert
from controlplane.store.stored import (
    BatchReceipt,
    BegunSignIn,
    SidecarRow,
    StoredCall,
    StoredProposal,
    StoredRevision,
    StoredSession,
)
from controlplane.store.waking import announce
from controlplane.topology.model import ServiceName
from controlplane.violations.handling import Incident, Note
from controlplane.violations.incidents import Found

_MAX_NUMBER = 2**63 - 1
#: Fields of a `SidecarRow` that only telemetry writes; they are columns of another table.
REPORT_FIELDS = frozenset({"last_report_ms", "blind_since_ms", "gap_ms", "lost"})


class SqlTransaction:
    """Implements `interface.Transaction` on one open connection. ``finish`` comes before the commit, ``committed`` after it."""

    def __init__(self, connection: Connection, violation_window_ms: int, stored: Stored, origin: str) -> None:
        """``origin`` names this store to others that follow what is in force."""
        self._connection = connection
        self._origin = origin
        self._is_news = False
        self._recording = Recording(connection, violation_window_ms, stored)

    def finish(self) -> None:
        """Write what was added up, and wake others that share the database when something else is in force."""
        self._recording.finish()
        if self._is_news:
            announce(self._connection, self._origin)

    def committed(self) -> None:
        """Remember what need not be written again."""
        self._recording.committed()

    def record_batch(
        self, workload: str, instance: str, epoch: str, sequence: int, flows: Sequence[Flow], lost: int, now_ms: int
    ) -> BatchReceipt:
        """Store one batch once; ``sequence`` counts from 1 in an epoch.

        Allowed flows count edges. The others go to violations, and to no edge: a would-deny flow that passed comes with an
        allowed flow of its edge (`workflow.resolve`). A gap or a loss makes the sidecar blind from ``now_ms``, if it was not
        already. Each violation of the receipt has its row's id, and counts and times of this batch alone.
        """
        return self._recording.add(workload, instance, epoch, sequence, flows, lost, now_ms)

    def add_revision(self, author: str, note: str, document: str, now_ms: int) -> StoredRevision:
        """Append the next revision; numbers count from 1."""
        revision = StoredRevision(next_number(self._connection, "revision"), now_ms, author, note, document)
        self._connection.execute(tables.revisions.insert().values(**asdict(revision)))
        return revision

    def add_proposal(self, base_revision: int, document: str, now_ms: int) -> StoredProposal:
        """Append an open proposal; numbers count from 1."""
        proposal = StoredProposal(next_number(self._connection, "proposal"), now_ms, "open", base_revision, document)
        self._connection.execute(tables.proposals.insert().values(**asdict(proposal)))
        return proposal

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
        if not 0 < number <= _MAX_NUMBER:
            return False
        table = tables.proposals
        statement = (
            update(table)
            .where(table.c.number == number, table.c.status == "open")
            .values(
                status=status,
                decided_by=decided_by,
                comment=comment,
                revision=revision,
                decided_ms=now_ms,
                **({} if document is None else {"document": document}),
            )
        )
        return self._connection.execute(statement).rowcount == 1

    def set_mode(self, service: ServiceName, mode: Mode, now_ms: int) -> None:
        """Set a service's mode, and remember since when it holds."""
        row = {"namespace": service.namespace, "name": service.name, "mode": str(mode)}
        self._is_news = True
        upsert(self._connection, tables.modes, [row])
        upsert(self._connection, tables.mode_changes, [{**row, "at_ms": now_ms}])

    def note_default_mode(self, mode: Mode, now_ms: int) -> None:
        """Remember since when services without a mode of their own have this one."""
        upsert(self._connection, tables.mode_changes, [{"at_ms": now_ms, "namespace": "", "name": "", "mode": str(mode)}])

    def set_active_revision(self, number: int) -> None:
        """Make a stored revision the one in force.

        Raises:
            StoreError: there is no such revision.
        """
        found = (
            0 < number <= _MAX_NUMBER
            and self._connection.execute(select(tables.revisions.c.number).where(tables.revisions.c.number == number)).scalar()
        )
        if not found:
            raise StoreError(f"revision {number} cannot be put in force: it is not stored")
        self._is_news = True
        upsert(self._connection, tables.active_revision, [{"singleton": 1, "number": number}])

    def add_audit(self, actor: str, action: str, subject: str, detail: str, now_ms: int) -> AuditEvent:
        """Append an audit event. Who takes the next number reads the last hash: other writers wait for the commit."""
        event = AuditEvent(next_number(self._connection, "audit"), now_ms, actor, action, subject, detail)
        newest = select(tables.audit.c.hash).order_by(tables.audit.c.id.desc()).limit(1)
        event = replace(event, hash=link(self._connection.execute(newest).scalar() or "", event))
        self._connection.execute(tables.audit.insert().values(**asdict(event)))
        return event

    def add_grant(self, grant: Grant) -> Grant:
        """Store a timed exception under the next number."""
        return insert_grant(self._connection, grant)

    def end_grant(self, grant_id: int, ended_by: str, now_ms: int) -> bool:
        """Mark a timed exception as ended; False when it had ended, or there is none."""
        return end_grant(self._connection, grant_id, ended_by, now_ms)

    def add_ask(self, ask: Ask) -> Ask:
        """Store an edge that is asked for under the next number; numbers count from 1."""
        return insert_ask(self._connection, ask)

    def close_asks(self, asks: Sequence[int], closed_by: str, now_ms: int) -> None:
        """Mark some as decided; those that are already stay as they are."""
        close_asks(self._connection, asks, closed_by, now_ms)

    def add_approvals(self, approvals: Iterable[Approval]) -> None:
        """Keep approvals; one that is given again is new again."""
        upsert_approvals(self._connection, approvals)

    def drop_approvals(self, questions: Collection[str]) -> None:
        """Forget who agreed to some questions."""
        delete_approvals(self._connection, questions)

    def drop_approvals_by(self, actor: str) -> None:
        """Forget what somebody agreed to."""
        delete_approvals_by(self._connection, actor)

    def add_comment(self, comment: Comment) -> Comment:
        """Store a comment under the next number."""
        return insert_comment(self._connection, comment)

    def set_leases(self, leases: Iterable[EdgeLease]) -> None:
        """Set leases of approved edges, each in place of the one before."""
        upsert_leases(self._connection, leases)

    def keep_last_uses(self, uses: Mapping[Held, int]) -> None:
        """Keep when approved edges were last used (Unix milliseconds); the later of two stays."""
        upsert_last_uses(self._connection, uses)

    def lock_rollouts(self) -> None:
        """Nobody else begins a rollout until this transaction ends."""
        lock_number(self._connection, "rollout")

    def add_rollout(self, rollout: Rollout) -> Rollout:
        """Store a staged rollout under the next number."""
        self._is_news = True
        return insert_rollout(self._connection, rollout)

    def move_rollout(self, before: Rollout, after: Rollout) -> bool:
        """Put a staged rollout into another state; ``False`` when it moved meanwhile."""
        self._is_news = True
        return move_rollout(self._connection, before, after)

    def pause_rollout(self, rollout_id: int, paused_by: str) -> bool:
        """Hold up a running rollout, or with an empty name let it go on; ``False`` when it has ended."""
        self._is_news = True
        return pause_rollout(self._connection, rollout_id, paused_by)

    def add_proof(self, proof: Proof) -> Proof | None:
        """Store a proof of enforcement under the next number; ``None`` where one of the same target is open."""
        return insert_proof(self._connection, proof)

    def move_proof(self, before: Proof, after: Proof) -> bool:
        """Put a proof into another state; ``False`` when it moved meanwhile."""
        return move_proof(self._connection, before, after)

    def lock_incidents(self, since_ms: int) -> Sequence[Incident]:
        """Those last seen since then; nobody else groups any until this transaction ends."""
        return lock_incidents(self._connection, since_ms)

    def add_incident(self, incident: Incident) -> Incident:
        """Store an incident under the next number."""
        return insert_incident(self._connection, incident)

    def grow_incident(self, incident_id: int, found: Found) -> None:
        """Replace what was found of an incident."""
        grow_incident(self._connection, incident_id, found)

    def handle_incident(self, before: Incident, after: Incident) -> bool:
        """Replace what people did about an incident; ``False`` when it changed meanwhile."""
        return handle_incident(self._connection, before, after)

    def add_note(self, note: Note) -> None:
        """Store what somebody did about an incident, or wrote down."""
        insert_note(self._connection, note)

    def add_join_token(self, token_hash: str, workload: str, expires_ms: int, now_ms: int) -> None:
        """Remember a join token by its hash."""
        self._connection.execute(
            tables.join_tokens.insert().values(token_hash=token_hash, workload=workload, expires_ms=expires_ms, created_ms=now_ms)
        )

    def use_join_token(self, token_hash: str, now_ms: int) -> str | None:
        """Use a token up: one statement decides, so that of two racing uses one wins."""
        table = tables.join_tokens
        statement = (
            update(table)
            .where(table.c.token_hash == token_hash, table.c.used_ms.is_(None), table.c.expires_ms > now_ms)
            .values(used_ms=now_ms)
        )
        if self._connection.execute(statement).rowcount != 1:
            return None
        query = select(table.c.workload).where(table.c.token_hash == token_hash)
        return str(self._connection.execute(query).scalar_one())

    def add_account(self, account: Account) -> bool:
        """Store a user; False when the name is taken."""
        return insert_account(self._connection, account)

    def set_account_scope(self, name: str, scope: Scope) -> bool:
        """Set what a user may do; False when there is none."""
        return change_account(self._connection, name, scope=scope)

    def set_account_password(self, name: str, password: str) -> bool:
        """Set the hash of a user's password; False when there is none."""
        return change_account(self._connection, name, password=password)

    def remove_account(self, name: str) -> bool:
        """Remove a user with its tokens; False when there is none."""
        return delete_account(self._connection, name)

    def add_access_token(self, token: AccessToken) -> AccessToken | None:
        """Store a token under the next number; None when there is no such user."""
        return insert_access_token(self._connection, token)

    def revoke_access_token(self, token_id: int, now_ms: int) -> str | None:
        """Mark a token as revoked; its account, None when it was or there is none."""
        return revoke_access_token(self._connection, token_id, now_ms)

    def use_access_token(self, token_id: int, now_ms: int) -> None:
        """Note a token's last use."""
        use_access_token(self._connection, token_id, now_ms)

    def begin_session(self, session: StoredSession, keep: int) -> None:
        """Sign somebody in to the console; sessions that are over go, and all but the newest."""
        insert_session(self._connection, session, keep)

    def end_session(self, session_hash: str) -> None:
        """Sign out."""
        delete_session(self._connection, session_hash)

    def begin_sign_in(self, begun: BegunSignIn, keep: int) -> None:
        """Keep a sign-in until it is answered."""
        insert_sign_in(self._connection, begun, keep)

    def take_sign_in(self, state: str) -> BegunSignIn | None:
        """Use a sign-in up."""
        return take_sign_in(self._connection, state)

    def begin_call(self, actor: str, key: str, fingerprint: str, now_ms: int, keep: int) -> StoredCall | None:
        """Take a key for a call; the call that has it, ``None`` when it was free."""
        return begin_call(self._connection, actor, key, fingerprint, now_ms, keep)

    def end_call(self, actor: str, key: str, status: int, media_type: str, body: bytes | None) -> None:
        """Keep how a call ended."""
        end_call(self._connection, actor, key, status, media_type, body)

    def forget_call(self, actor: str, key: str) -> None:
        """Give a call's key back."""
        forget_call(self._connection, actor, key)

    def save_sidecars(self, rows: Iterable[SidecarRow]) -> None:
        """Insert or replace what the control plane says of sidecars.

        ``last_report_ms``, ``blind_since_ms``, ``gap_ms`` and ``lost`` of the rows are not read: only `record_batch` writes them.
        """
        last_of = {(row.workload, row.instance): row for row in rows}
        values = [
            {name: value for name, value in asdict(row).items() if name not in REPORT_FIELDS} for _, row in sorted(last_of.items())
        ]
        stored = tables.sidecars.c
        upsert(
            self._connection,
            tables.sidecars,
            values,
            only=lambda new: or_(new.connected, new.plane == stored.plane, ~stored.connected),
        )

    def beat(self, plane: str, now_ms: int, alive_since_ms: int) -> bool:
        """Say that a control plane is there; ``False`` when it counted as gone, or is new. See `interface.Transaction.beat`."""
        return beat(self._connection, plane, now_ms, alive_since_ms)

    def leave(self, plane: str) -> None:
        """A control plane ends, and its sidecars' connections with it."""
        leave(self._connection, plane)
