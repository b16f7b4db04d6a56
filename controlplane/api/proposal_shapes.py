"""Turns proposals into the API's schemas. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.api import proposal_schemas
from controlplane.api.shapes import edge_fields
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge
from controlplane.graph.roles import Roles
from controlplane.graph.rows import ReviewRow
from controlplane.graph.samples import Samples
from controlplane.store.stored import StoredProposal
from controlplane.workflow.agreement import Standing


def summary(stored: StoredProposal, rows: Sequence[ReviewRow]) -> proposal_schemas.ProposalSummary:
    """A proposal without its rows."""
    return proposal_schemas.ProposalSummary(**_fields(stored, rows))


def proposal(
    stored: StoredProposal,
    rows: Sequence[ReviewRow],
    samples: Mapping[GraphEdge, Samples],
    roles: Roles,
    standing: Sequence[Standing],
) -> proposal_schemas.Proposal:
    """A proposal with its rows, each with where it stands."""
    edges = [
        _row(number, row, samples.get(row.edge), roles, stands)
        for number, (row, stands) in enumerate(zip(rows, standing, strict=True), 1)
    ]
    return proposal_schemas.Proposal(**_fields(stored, rows), edges=edges)


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


def _row(number: int, row: ReviewRow, samples: Samples | None, roles: Roles, stands: Standing) -> proposal_schemas.ProposedEdge:
    return proposal_schemas.ProposedEdge(
        **edge_fields(row.edge),
        row=number,
        preselected=row.preselected,
        marks=[proposal_schemas.Mark(str(mark.oddity), mark.reason) for mark in row.marks],
        removal=row.removal,
        asked=_asked(row),
        source_role=roles.of(row.edge.source),
        destination_role=roles.of(row.edge.destination),
        samples=None if samples is None else _samples(samples),
        owners=list(stands.owners),
        source_owners=list(stands.source_owners),
        approvals=[proposal_schemas.AgreedBy(given.actor, given.at_ms) for given in stands.approvals],
        comments=[proposal_schemas.Remark(said.actor, said.text, said.at_ms) for said in stands.comments],
        lacks=stands.lacks,
        mine=stands.mine,
    )


def _asked(row: ReviewRow) -> proposal_schemas.WishedBy | None:
    asked = row.asked
    return None if asked is None else proposal_schemas.WishedBy(asked.by, asked.reason, asked.link, asked.at_ms)


def _samples(samples: Samples) -> proposal_schemas.Samples:
    return proposal_schemas.Samples(
        days=samples.days, weekdays=list(samples.weekdays), hours_of_week=samples.hours_of_week,
        replica_count=samples.replica_count, replicas=list(samples.replicas),
        images=[proposal_schemas.ImageUse(use.digest, use.first_seen_ms, use.last_day * DAY_MS) for use in samples.images],
        came_with=samples.came_with,
        widened=[proposal_schemas.Widened(found.method, found.path, list(found.reasons)) for found in samples.widened],
    )  # fmt: skip
