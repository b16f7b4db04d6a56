"""Turns values of the core into the API's schemas. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from controlplane.api import revisions, schemas
from controlplane.flows.model import Violation
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.learn import GraphEdge
from controlplane.policy.audit import AuditEvent, Broken, Intact
from controlplane.policy.evaluate import Allowed
from controlplane.policy.explain import Explanation
from controlplane.policy.proofs import Proof, Target
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule
from controlplane.store.stored import SidecarRow, StoredRevision
from controlplane.topology.model import Service
from controlplane.workflow.sidecars import blind_since


def http(matches: Iterable[HttpMatch]) -> list[schemas.HttpMatch]:
    """Methods and paths."""
    return [schemas.HttpMatch(match.method, match.path) for match in matches]


def edge_fields(edge: GraphEdge) -> dict[str, Any]:
    """The fields of an edge, wherever one stands."""
    return {
        "source": edge.source,
        "destination": edge.destination,
        "port": edge.port,
        "protocol": edge.protocol,
        "http": http(edge.http),
        "count": edge.count,
        "first_seen_ms": edge.first_seen_ms or None,
        "last_seen_ms": edge.last_seen_ms or None,
    }


def map_edge(charted: ChartedEdge) -> schemas.MapEdge:
    """An edge of the map."""
    return schemas.MapEdge(**edge_fields(charted.edge), approved=charted.approved, learned=charted.learned, mode=str(charted.mode))


def map_service(service: Service, policy: Policy) -> schemas.MapService:
    """A service of the map."""
    listed = policy.of(service.name)
    return schemas.MapService(
        service=str(service.name),
        kind=str(service.kind),
        mode=str(policy.mode(service.name)),
        revision=listed.revision,
        rules=len(listed.rules),
        ports=[schemas.ServicePort(port.number, port.protocol) for port in service.ports],
    )


def _revision(stored: StoredRevision | None, policy: Policy, active: int, proofs: Iterable[Proof]) -> dict[str, Any]:
    listed = [services for services in policy.services.values() if services.rules]
    return {
        "revision": policy.revision,
        "active": policy.revision == active,
        "created_ms": stored.created_ms if stored else None,
        "author": stored.author if stored else "",
        "note": stored.note if stored else "",
        "service_count": len(listed),
        "rule_count": sum(len(services.rules) for services in listed),
        "proved": proved(proofs),
    }


def proved(proofs: Iterable[Proof]) -> revisions.Proved:
    """What came of some proofs, newest first: of each target the last counts."""
    last: dict[Target, Proof] = {}
    for proof in proofs:
        last.setdefault(proof.target, proof)
    counts = Counter("open" if proof.is_open else str(proof.status).replace("-", "_") for proof in last.values())
    return revisions.Proved(**counts)


def revision_summary(
    stored: StoredRevision | None, policy: Policy, active: int, proofs: Iterable[Proof] = ()
) -> revisions.RevisionSummary:
    """A revision without its rules, with what was tried while it was in force, newest first."""
    return revisions.RevisionSummary(**_revision(stored, policy, active, proofs))


def revision(stored: StoredRevision | None, policy: Policy, active: int, proofs: Iterable[Proof] = ()) -> revisions.Revision:
    """A revision with its rules, with what was tried while it was in force, newest first."""
    services = [
        revisions.ServiceRules(
            str(name),
            listed.revision,
            [rule(found) for found in sorted(listed.rules, key=lambda found: (str(found.source), found.port))],
        )
        for name, listed in sorted(policy.services.items())
        if listed.rules
    ]
    return revisions.Revision(**_revision(stored, policy, active, proofs), services=services)


def rule(found: Rule) -> revisions.Rule:
    """A rule."""
    return revisions.Rule(str(found.source), found.port, http(found.http))


def explanation(found: Explanation, revision: int, mode: Mode) -> revisions.Explanation:
    """What becomes of a request, by the revision and the mode of its destination."""
    request, outcome = found.request, found.outcome
    passed = outcome.rule if isinstance(outcome, Allowed) else None
    return revisions.Explanation(
        source=str(request.source or f"ip:{request.source_address}"), destination=str(request.destination), port=request.port,
        verdict=found.verdict, decided_by="source" if found.is_at_source else "destination", text=found.text,
        rule=None if passed is None else rule(passed), deny_id="" if isinstance(outcome, Allowed) else str(outcome.deny_id),
        revision=revision, mode=str(mode),
    )  # fmt: skip


def violation(found: Violation) -> schemas.Violation:
    """A violation."""
    rest = {
        name: getattr(found, name)
        for name in (
            "id", "deny_id", "count", "first_seen_ms", "last_seen_ms", "reporter", "direction", "host", "server_name",
            "peer_address", "reason", "probe",
        )
    }  # fmt: skip
    return schemas.Violation(**found.edge._asdict(), verdict=str(found.verdict), **rest)


def sidecar(row: SidecarRow, now_ms: int, rollout: int | None = None) -> schemas.Sidecar:
    """A sidecar's state at a time, and the rollout whose stage it is in."""
    nack = schemas.Nack(row.nack_type, row.nack_message, row.nack_ms) if row.nack_type else None
    names = (
        "workload", "instance", "connected", "connected_ms", "revision", "sent_version", "acked_version", "last_report_ms",
        "lost", "agent_version", "envoy_version", "capture", "certificate_not_after_ms", "image_digest",
    )  # fmt: skip
    rest = {name: getattr(row, name) for name in names}
    return schemas.Sidecar(**rest, blind_since_ms=blind_since(row, now_ms), state=sidecar_state(row), nack=nack, rollout=rollout)


def sidecar_state(row: SidecarRow) -> str:
    """See `schemas.Sidecar`."""
    if not row.connected:
        return "away"
    if row.nack_type:
        return "nack"
    return "ack" if row.sent_version and row.sent_version == row.acked_version else "pending"


def audit_verdict(found: Intact | Broken, events: int) -> schemas.AuditVerdict:
    """Whether so many audit events are as they were written."""
    if isinstance(found, Broken):
        return schemas.AuditVerdict(intact=False, events=events, head="", broken_id=found.id, reason=found.reason)
    return schemas.AuditVerdict(intact=True, events=found.events, head=str(found.head or ""), broken_id=None, reason="")


def audit_event(event: AuditEvent) -> schemas.AuditEvent:
    """An audit event."""
    detail = msgspec.json.decode(event.detail or "{}")
    return schemas.AuditEvent(event.id, event.at_ms, event.actor, event.action, event.subject, detail, event.hash)
