"""Turns proposals into the API's schemas. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.api import schemas
from controlplane.api.shapes import edge_fields
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge
from controlplane.graph.roles import Roles
from controlplane.graph.rows import ReviewRow
from controlplane.graph.samples import Samples
from controlplane.store.interface import StoredProposal
from controlplane.workflow.agreement import Standing


def summary(stored: StoredProposal, rows: Sequence[ReviewRow]) -> schemas.ProposalSummary:
    """A proposal without its rows."""
    return schemas.ProposalSummary(**_fields(stored, rows))


def proposal(
    stored: StoredProposal,
    rows: Sequence[ReviewRow],
    samples: Mapping[GraphEdge, Samples],
    roles: Roles,
    standing: Sequence[Standing],
) -> schemas.Proposal:
    """A proposal with its rows, each with where it stands."""
    edges = [
        _row(number, row, samples.get(row.edge), roles, stands)
        for number, (row, stands) in enumerate(zip(rows, standing, strict=True), 1)
    ]
    return schemas.Proposal(**_fields(stored, rows), edges=edges)


def _fields(stored: StoredProposal, rows: Sequence[ReviewRow]) -> dict[str, Any]:
    return {
        "number": stored.number,
        "status": stored.status,
        "created_ms": stored.created_ms,
        "base_revision": stored.base_revision,
        "edge_count": len(rows),
        "preselected_count": sum(row.preselected for row in rows),
        "decided_ms": stored.decided_ms,
        "decided_by": stored.decided_by,
        "comment": stored.comment,
        "revision": stored.revision,
    }


def _row(number: int, row: ReviewRow, samples: Samples | None, roles: Roles, stands: Standing) -> schemas.ProposedEdge:
    return schemas.ProposedEdge(
        **edge_fields(row.edge),
        row=number,
        preselected=row.preselected,
        marks=[schemas.Mark(str(mark.oddity), mark.reason) for mark in row.marks],
        removal=row.removal,
        asked=None if row.asked is None else schemas.WishedBy(row.asked.by, row.asked.reason, row.asked.link, row.asked.at_ms),
        source_role=roles.of(row.edge.source),
        destination_role=roles.of(row.edge.destination),
        samples=None if samples is None else _samples(samples),
        owners=list(stands.owners),
        source_owners=list(stands.source_owners),
        approvals=[schemas.AgreedBy(given.actor, given.at_ms) for given in stands.approvals],
        comments=[schemas.Remark(said.actor, said.text, said.at_ms) for said in stands.comments],
        lacks=stands.lacks,
        mine=stands.mine,
    )


def _samples(samples: Samples) -> schemas.Samples:
    return schemas.Samples(
        days=samples.days, weekdays=list(samples.weekdays), hours_of_week=samples.hours_of_week,
        replica_count=samples.replica_count, replicas=list(samples.replicas),
        images=[schemas.ImageUse(use.digest, use.first_seen_ms, use.last_day * DAY_MS) for use in samples.images],
        came_with=samples.came_with,
        widened=[schemas.Widened(found.method, found.path, list(found.reasons)) for found in samples.widened],
    )  # fmt: skip
