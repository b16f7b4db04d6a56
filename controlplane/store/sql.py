"""The store on SQLAlchemy Core, for SQLite and PostgreSQL: reading, and the frame of a write transaction."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext, suppress

from sqlalchemy import Connection, Engine, and_, func, select

from controlplane.flows.model import EdgeKey, HourlyFlow, LearnedEdge, Violation
from controlplane.graph.evidence import Evidence
from controlplane.graph.watch import Watch
from controlplane.policy.accounts import AccessToken, Account
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
from controlplane.store import finding, tables
from controlplane.store.accounts import select_access_tokens, select_accounts
from controlplane.store.agreement import select_approvals, select_comments
from controlplane.store.asks import select_asks
from controlplane.store.conditions import violations_filtered
from controlplane.store.engine import BUSY_TIMEOUT_SECONDS, open_engine, wrapped
from controlplane.store.grants import select_grants
from controlplane.store.history import select_history
from controlplane.store.incidents import select_first_uses, select_incident, select_incidents, select_notes
from controlplane.store.interface import StoreError
from controlplane.store.learning import evidence_reading, select_evidence, select_overflowing
from controlplane.store.leases import lease_reading, select_last_uses, select_leases
from controlplane.store.proofs import select_newest_proofs, select_proofs
from controlplane.store.pruning import find_stale, remove_stale
from controlplane.store.recording import Stored
from controlplane.store.rollouts import select_rollouts
from controlplane.store.schema import begin_write
from controlplane.store.sessions import select_session
from controlplane.store.statements import newest
from controlplane.store.stored import (
    Prunable,
    SidecarRow,
    StoredProposal,
    StoredRevision,
    StoredSession,
    ViolationCounts,
    ViolationFilter,
    ViolationPage,
)
from controlplane.store.violations import violation_of
from controlplane.store.waking import follow
from controlplane.store.watching import select_watches, watch_reading
from controlplane.store.write import REPORT_FIELDS, SqlTransaction
from controlplane.topology.model import ServiceName
from controlplane.violations.handling import Incident, Note
from controlplane.violations.incidents import Use

_MAX_INTEGER = 2**63 - 1


def open_store(url: str, *, violation_window_ms: int = 60_000) -> SqlStore:
    """Open a database, made or migrated as needed.

    Raises:
        StoreError: it cannot be used; the message says what to do.
    """
    return SqlStore(open_engine(url), violation_window_ms)


class SqlStore:
    """Implements `interface.Store`. Safe to call from several threads."""

    def __init__(self, engine: Engine, violation_window_ms: int) -> None:
        self._engine = engine
        self.violation_window_ms = violation_window_ms
        self._stored = Stored()
        self._evidence, self._watches, self._leases = evidence_reading(), watch_reading(), lease_reading()
        self.is_shared = engine.dialect.name == "postgresql"
        self._origin = secrets.token_hex(8)
        # SQLite has one writer; waiting for it here is fair and immediate, its own waiting is polling.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """Begin a write transaction; it commits on leaving without an exception."""
        with self._changing() as connection:
            transaction = SqlTransaction(connection, self.violation_window_ms, self._stored, self._origin)
            yield transaction
            transaction.finish()
        transaction.committed()

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        with self._writing(), wrapped("the database refused a write"), self._engine.connect() as connection:
            begin_write(connection)
            yield connection
            connection.commit()

    def _writing(self) -> AbstractContextManager[object]:
        return nullcontext() if self._writer is None else _held(self._writer)

    def _write_history(self) -> None:
        with self._changing() as connection:
            self._stored.hours.write(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with wrapped("the database refused a read"), self._engine.connect() as connection:
            yield connection

    async def changes_by_others(self) -> AsyncGenerator[None]:
        """One item whenever another control plane changed what is in force, or may have; none where there is no other."""
        if self.is_shared:
            async with aclosing(follow(self._engine, self._origin)) as changes:
                async for change in changes:
                    yield change

    def edges(self, before_ms: int | None = None) -> Sequence[LearnedEdge]:
        """All learned edges, or those that were last used before a time, ordered by key."""
        table = tables.edges.c
        query = select(*(table[name] for name in EdgeKey._fields), table.count, table.first_seen_ms, table.last_seen_ms)
        if before_ms is not None:
            query = query.where(table.last_seen_ms < before_ms)
        with self._reading() as connection:
            found = [LearnedEdge(EdgeKey(*row[:6]), row[6], row[7], row[8]) for row in connection.execute(query)]
        # Ordered here, as below: the databases' orders of text differ, PostgreSQL's even with its locale.
        return sorted(found, key=lambda edge: edge.key)

    def evidence(self) -> Mapping[EdgeKey, Evidence]:
        """What is known of the use of each learned edge; HTTP paths are shapes (`graph.pathshape`)."""
        with self._reading() as connection:
            return select_evidence(connection, self._evidence)

    def history(self, since_hour: int, limit: int) -> Sequence[HourlyFlow]:
        """Uses by the hour from that hour on (hours since the epoch), newest hour first."""
        self._write_history()
        with self._reading() as connection:
            return select_history(connection, since_hour, _limit(limit))

    def watches(self) -> Mapping[str, Watch]:
        """When each service was watched, by its name."""
        with self._reading() as connection:
            return select_watches(connection, self._watches)

    def overflowing(self) -> frozenset[str]:
        """Sources with more edges than are kept; ``ip:`` stands for all peers without identity."""
        with self._reading() as connection:
            return select_overflowing(connection)

    def violations(self, wanted: ViolationFilter, limit: int) -> Sequence[Violation]:
        """Matching violations, newest last seen first; with ``after_id``, in the order of their ids."""
        table = tables.violations
        query = select(table).where(*violations_filtered(wanted)).limit(_limit(limit))
        query = query.order_by(table.c.id) if wanted.after_id else query.order_by(table.c.last_seen_ms.desc(), table.c.id.desc())
        with self._reading() as connection:
            return [violation_of(row._asdict()) for row in connection.execute(query)]

    def violation_page(self, wanted: ViolationFilter, limit: int) -> ViolationPage:
        """Matching violations, newest last seen first, in bounded time."""
        with self._reading() as connection:
            return finding.find_page(connection, wanted, _limit(limit))

    def count_violations(self, wanted: ViolationFilter) -> ViolationCounts:
        """Counts of matching violations, in bounded time; see `interface.Store.count_violations`."""
        with self._reading() as connection:
            return finding.count(connection, wanted)

    def last_violation_id(self) -> int:
        """The highest ID of a stored violation; 0 before the first."""
        with self._reading() as connection:
            return int(connection.execute(select(func.max(tables.violations.c.id))).scalar() or 0)

    def first_uses(self, sources: Iterable[str]) -> Mapping[Use, int]:
        """When each edge of these sources was first allowed."""
        with self._reading() as connection:
            return select_first_uses(connection, sources)

    def incidents(self, limit: int, before: int | None = None, *, is_open: bool) -> Sequence[Incident]:
        """Newest first; with ``is_open`` those that nobody closed."""
        with self._reading() as connection:
            return select_incidents(connection, _limit(limit), before, is_open=is_open)

    def incident(self, number: int) -> Incident | None:
        """One of them."""
        if not 0 < number <= _MAX_INTEGER:
            return None
        with self._reading() as connection:
            return select_incident(connection, number)

    def notes(self, incident_id: int, limit: int) -> Sequence[Note]:
        """The newest, oldest first."""
        with self._reading() as connection:
            return select_notes(connection, incident_id, _limit(limit))

    def revisions(self, limit: int, before: int | None = None) -> Sequence[StoredRevision]:
        """Newest first; with ``before`` those of lower numbers."""
        query = newest(tables.revisions.c.number, _limit(limit), before)
        with self._reading() as connection:
            return [StoredRevision(**row) for row in connection.execute(query).mappings()]

    def revision(self, number: int) -> StoredRevision | None:
        """One revision."""
        if not 0 < number <= _MAX_INTEGER:
            return None
        with self._reading() as connection:
            row = connection.execute(select(tables.revisions).where(tables.revisions.c.number == number)).mappings().first()
        return None if row is None else StoredRevision(**row)

    def revision_times(self) -> Mapping[int, int]:
        """When each revision was made, by number."""
        table = tables.revisions.c
        with self._reading() as connection:
            return {row.number: row.created_ms for row in connection.execute(select(table.number, table.created_ms))}

    def active_revision(self) -> int:
        """The number of the revision in force; 0 before the first."""
        with self._reading() as connection:
            return int(connection.execute(select(tables.active_revision.c.number)).scalar() or 0)

    def modes(self) -> dict[ServiceName, Mode]:
        """Modes that were set."""
        with self._reading() as connection:
            return {ServiceName(row[0], row[1]): Mode(row[2]) for row in connection.execute(select(tables.modes))}

    def mode_changes(self) -> Sequence[ModeSet]:
        """Since when each mode holds, in the order of time."""
        query = select(tables.mode_changes).order_by(tables.mode_changes.c.at_ms)
        with self._reading() as connection:
            return [
                ModeSet(row.at_ms, ServiceName(row.namespace, row.name) if row.name else None, Mode(row.mode))
                for row in connection.execute(query)
            ]

    def proposals(self, status: str | None, limit: int, before: int | None = None) -> Sequence[StoredProposal]:
        """Newest first."""
        query = newest(tables.proposals.c.number, _limit(limit), before)
        if status is not None:
            query = query.where(tables.proposals.c.status == status)
        with self._reading() as connection:
            return [StoredProposal(**row) for row in connection.execute(query).mappings()]

    def proposal(self, number: int) -> StoredProposal | None:
        """One proposal."""
        if not 0 < number <= _MAX_INTEGER:
            return None
        with self._reading() as connection:
            row = connection.execute(select(tables.proposals).where(tables.proposals.c.number == number)).mappings().first()
        return None if row is None else StoredProposal(**row)

    def grants(self, limit: int, before: int | None = None, *, active: bool) -> Sequence[Grant]:
        """Timed exceptions, newest first; with ``active`` those that have not ended."""
        with self._reading() as connection:
            return select_grants(connection, _limit(limit), before, active=active)

    def asks(self, limit: int, after: int = 0) -> Sequence[Ask]:
        """Edges that are asked for and await a decision, oldest first."""
        with self._reading() as connection:
            return select_asks(connection, _limit(limit), after)

    def approvals(self, questions: Collection[str], since_ms: int) -> Sequence[Approval]:
        """Who agreed to some questions since then, in the order in which they did."""
        with self._reading() as connection:
            return select_approvals(connection, questions, since_ms)

    def comments(self, edges: Collection[str]) -> Sequence[Comment]:
        """What was said about some edges ("source -> destination:port"), oldest first."""
        with self._reading() as connection:
            return select_comments(connection, edges)

    def leases(self) -> Sequence[EdgeLease]:
        """All leases that were ever set; by service, source and port."""
        with self._reading() as connection:
            return select_leases(connection, self._leases)

    def last_uses(self) -> Mapping[Held, int]:
        """When approved edges were last used that were kept by `Transaction.keep_last_uses`."""
        with self._reading() as connection:
            return select_last_uses(connection)

    def rollouts(self, limit: int, before: int | None = None, *, running: bool) -> Sequence[Rollout]:
        """Staged rollouts, newest first; with ``running`` those that have not ended."""
        with self._reading() as connection:
            return select_rollouts(connection, _limit(limit), before, running=running)

    def proofs(
        self, limit: int, before: int | None = None, *, revision: int | None = None, open_only: bool = False
    ) -> Sequence[Proof]:
        """Proofs of enforcement, newest first; of one policy revision, or with ``open_only`` those that have not ended."""
        with self._reading() as connection:
            return select_proofs(connection, _limit(limit), before, revision=revision, open_only=open_only)

    def newest_proofs(self) -> Sequence[Proof]:
        """The newest proof of each target, in no order."""
        with self._reading() as connection:
            return select_newest_proofs(connection)

    def denials(self, workload: str) -> int:
        """How many uses a workload's sidecars ever reported as denied, at either end; proofs are left out."""
        query = select(tables.denials.c["count"]).where(tables.denials.c.workload == workload)
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def accounts(self) -> Sequence[Account]:
        """All local users, by name."""
        with self._reading() as connection:
            return select_accounts(connection)

    def account(self, name: str) -> Account | None:
        """One local user."""
        with self._reading() as connection:
            return next(iter(select_accounts(connection, name)), None)

    def session(self, session_hash: str) -> StoredSession | None:
        """The session of a hash, also when it is over."""
        with self._reading() as connection:
            return select_session(connection, session_hash)

    def access_token(self, token_hash: str) -> AccessToken | None:
        """The token of a hash."""
        with self._reading() as connection:
            return next(iter(select_access_tokens(connection, token_hash=token_hash)), None)

    def access_token_by_id(self, token_id: int) -> AccessToken | None:
        """The token of a number."""
        with self._reading() as connection:
            return next(iter(select_access_tokens(connection, token_id=token_id)), None)

    def access_tokens(self, account: str | None = None) -> Sequence[AccessToken]:
        """All tokens or those of an account, newest first."""
        with self._reading() as connection:
            return select_access_tokens(connection, account=account)

    def sidecars(self) -> Sequence[SidecarRow]:
        """All sidecars ever seen, ordered by workload and instance."""
        table, reports = tables.sidecars, tables.reports
        joined = table.outerjoin(reports, and_(table.c.workload == reports.c.workload, table.c.instance == reports.c.instance))
        columns = [reports.c[name] for name in sorted(REPORT_FIELDS - {"lost"})]
        query = select(table, *columns, func.coalesce(reports.c.lost, 0).label("lost")).select_from(joined)
        with self._reading() as connection:
            found = [SidecarRow(**row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda row: (row.workload, row.instance))

    def images(self) -> Sequence[SidecarRow]:
        """The sidecars that say which image their application runs."""
        table = tables.sidecars
        with self._reading() as connection:
            found = connection.execute(select(table).where(table.c.image_digest != ""))
            return [SidecarRow(**row) for row in found.mappings()]

    def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEvent]:
        """Newest first."""
        query = newest(tables.audit.c.id, _limit(limit), before)
        with self._reading() as connection:
            return [AuditEvent(**row) for row in connection.execute(query).mappings()]

    def audit_after(self, event_id: int, limit: int) -> Sequence[AuditEvent]:
        """The next events, oldest first."""
        table = tables.audit
        query = select(table).where(table.c.id > min(event_id, _MAX_INTEGER)).order_by(table.c.id).limit(_limit(limit))
        with self._reading() as connection:
            return [AuditEvent(**row) for row in connection.execute(query).mappings()]

    def prune(self, what: Prunable, bound: int, limit: int) -> int:
        """Remove at most ``limit`` rows; see `interface.Store.prune`. They are sought before the write lock is taken."""
        with self._reading() as connection:
            keys = find_stale(connection, what, bound, _limit(limit))
        if not keys:
            return 0
        with self._changing() as connection:
            return remove_stale(connection, what, bound, keys)

    def ping(self) -> None:
        """Raise StoreError when the database does not answer."""
        with self._reading() as connection:
            connection.execute(select(tables.counters.c.value).limit(1))

    def close(self) -> None:
        """Write what was counted of the last hours, and release connections."""
        with suppress(StoreError):  # what cannot be written now is a minute of counts
            self._write_history()
        self._engine.dispose()


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
        raise StoreError(f"the database is busy: another write has taken more than {BUSY_TIMEOUT_SECONDS:.0f} s; try again")
    try:
        yield
    finally:
        lock.release()


def _limit(wanted: int) -> int:
    """A row limit that both databases take."""
    return min(max(wanted, 0), _MAX_INTEGER)
