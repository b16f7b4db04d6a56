"""Proofs of enforcement as rows, and back; and which reported flows are probes. Commits nothing, and never judges one.

Two write to a row: whoever drives the proof its state, and the telemetry of the destination the violation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select, update

from controlplane.flows.model import Flow, Verdict, Violation
from controlplane.graph.evidence import HOUR_MS
from controlplane.policy.proofs import Answer, Proof, Status, Target, mark_of
from controlplane.store import tables
from controlplane.store.statements import next_number, parts
from controlplane.topology.model import parse_service_name

#: A connection so long before or after a try is not that try: no two clocks of a mesh are so far apart.
_APART_MS = HOUR_MS
_OPEN = (str(Status.ASKED), str(Status.TRYING))


def insert_proof(connection: Connection, proof: Proof) -> Proof | None:
    """Store one under the next number; ``None`` where one of the same target is open. The number is taken first: it is the lock."""
    stored = replace(proof, id=next_number(connection, "proof"))
    table, target = tables.proofs.c, stored.target
    same = (table.service == str(target.service), table.port == target.port, table.address == target.address)
    if connection.execute(select(table.id).where(*same, table.status.in_(_OPEN)).limit(1)).scalar() is not None:
        return None
    connection.execute(
        tables.proofs.insert().values(
            id=stored.id, service=str(target.service), port=target.port, address=target.address, revision=stored.revision,
            actor=stored.actor, created_ms=stored.created_ms, violation=None, deny_id="", **_moving(stored),
        )
    )  # fmt: skip
    return stored


def move_proof(connection: Connection, before: Proof, after: Proof) -> bool:
    """Put one into another state; ``False`` when it is not in the state before any more."""
    table = tables.proofs
    state = (table.c.status == str(before.status), table.c.answer == str(before.answer))
    return connection.execute(update(table).where(table.c.id == before.id, *state).values(**_moving(after))).rowcount == 1


def select_proofs(connection: Connection, limit: int, before: int | None, *, revision: int | None, open_only: bool) -> list[Proof]:
    """Newest first, of one policy revision or all; below the number ``before``, where one is given."""
    query = select(tables.proofs).order_by(tables.proofs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(tables.proofs.c.id < before)
    if revision is not None:
        query = query.where(tables.proofs.c.revision == revision)
    if open_only:
        query = query.where(tables.proofs.c.status.in_(_OPEN))
    return [_proof(row) for row in connection.execute(query).mappings()]


def select_newest_proofs(connection: Connection) -> list[Proof]:
    """The newest of each target."""
    table = tables.proofs.c
    newest = select(func.max(table.id)).group_by(table.service, table.port, table.address)
    return [_proof(row) for row in connection.execute(select(tables.proofs).where(table.id.in_(newest))).mappings()]


def probes_among(connection: Connection, flows: Sequence[Flow]) -> tuple[Sequence[Flow], Sequence[Flow]]:
    """Flows that are what they seem, and those that are the probe whose mark they bear.

    Anybody can write a mark: a probe is one connection to the port that it was made for, from the workload that was asked for it,
    at about the time of the try, as the destination's sidecar saw it. A report that comes late is still of the probe.
    """
    marks = {mark for flow in flows if flow.server_name and (mark := mark_of(flow.server_name))}
    if not marks:
        return flows, ()
    tried = _tried(connection, sorted(marks))
    real: list[Flow] = []
    probes: list[Flow] = []
    for flow in flows:
        row = tried.get(mark_of(flow.server_name) or "")
        if row is not None and _is_try(flow, row):
            probes.append(replace(flow, probe=row.id))
        else:
            real.append(flow)
    return real, probes


def note_violations(connection: Connection, violations: Sequence[Violation]) -> None:
    """Write to the proofs of probes where their denial is in the log."""
    table = tables.proofs
    for found in violations:
        if found.probe and found.verdict is Verdict.DENIED:
            values = {"violation": found.id, "deny_id": found.deny_id}
            connection.execute(update(table).where(table.c.id == found.probe, table.c.violation.is_(None)).values(**values))


def _tried(connection: Connection, marks: Sequence[str]) -> Mapping[str, Any]:
    """The proofs with these marks of which no denial was reported yet."""
    table = tables.proofs.c
    found: dict[str, Any] = {}
    for part in parts(marks):
        query = select(table.id, table.mark, table.source, table.service, table.port, table.tried_ms)
        query = query.where(table.mark.in_(part), table.violation.is_(None))
        found |= {row.mark: row for row in connection.execute(query)}
    return found


def _is_try(flow: Flow, row: Any) -> bool:
    """Whether it is the one connection that a proof's row asked for."""
    ends = (flow.edge.source, flow.edge.destination, flow.edge.port, flow.reporter, flow.direction)
    asked = (row.source, row.service, row.port, row.service, "in")
    return ends == asked and flow.count <= 1 and abs(flow.first_seen_ms - row.tried_ms) < _APART_MS


def _moving(proof: Proof) -> dict[str, Any]:
    return {
        "status": str(proof.status), "source": proof.source, "instance": proof.instance, "mark": proof.mark,
        "tried_ms": proof.tried_ms, "answer": str(proof.answer), "told": proof.told, "answered_ms": proof.answered_ms,
        "reason": proof.reason, "ended_ms": proof.ended_ms,
    }  # fmt: skip


def _proof(row: Mapping[Any, Any]) -> Proof:
    return Proof(
        row["id"], Target(parse_service_name(row["service"]), row["port"], row["address"]), row["revision"], row["actor"],
        row["created_ms"], Status(row["status"]), row["source"], row["instance"], row["mark"], row["tried_ms"],
        Answer(row["answer"]), row["told"], row["answered_ms"], row["violation"], row["deny_id"], row["reason"], row["ended_ms"],
    )  # fmt: skip
