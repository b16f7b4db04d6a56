"""What is told to others: a violation, an incident or a failed proof as one flat event, and which of them a sink wants. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.flows.model import Verdict, Violation
from controlplane.policy.proofs import Proof
from controlplane.violations.handling import Incident


class Kind(enum.StrEnum):
    """What happened."""

    VIOLATION = "violation"
    INCIDENT = "incident"  # a new one
    INCIDENT_GREW = "incident-grew"
    PROOF_FAILED = "proof-failed"  # what is forbidden was let through, or denied and not reported


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``fields`` has the API's names; ``at_ms`` is Unix time in milliseconds.

    A violation's ``count`` and times are of one report alone: its row in the log may have had others before.
    """

    kind: Kind
    id: int
    at_ms: int
    denied: bool
    summary: str
    fields: Mapping[str, str | int]
    namespaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a sink wants: of these kinds, denied alone or all, from or to these namespaces (none: all)."""

    kinds: frozenset[Kind]
    denied_only: bool = False
    namespaces: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """Whether an event is one of them."""
        if event.kind not in self.kinds or (self.denied_only and not event.denied):
            return False
        return not self.namespaces or bool(self.namespaces & event.namespaces)


def of_violation(violation: Violation) -> Event:
    """A violation."""
    edge = violation.edge
    denied = violation.verdict is Verdict.DENIED
    fields: dict[str, str | int] = {
        **edge._asdict(), "verdict": str(violation.verdict), "deny_id": violation.deny_id, "count": violation.count,
        "first_seen_ms": violation.first_seen_ms, "last_seen_ms": violation.last_seen_ms, "reporter": violation.reporter,
        "direction": violation.direction, "host": violation.host, "server_name": violation.server_name,
        "peer_address": violation.peer_address, "reason": violation.reason,
    }  # fmt: skip
    what = " ".join(part for part in (edge.method, edge.path) if part)
    verb = "was denied" if denied else "would be denied"
    summary = f"{edge.source} -> {edge.destination}:{edge.port} {verb}{f': {what}' if what else ''}"
    namespaces = frozenset(_namespaces((edge.source, edge.destination)))
    return Event(Kind.VIOLATION, violation.id, violation.last_seen_ms, denied, summary, fields, namespaces)


def of_incident(incident: Incident, kind: Kind) -> Event:
    """An incident as it is by now."""
    found = incident.found
    fields: dict[str, str | int] = {
        "incident": str(found.kind), "sources": ", ".join(found.sources), "places": ", ".join(found.places),
        "source_count": found.source_count, "place_count": found.place_count, "count": found.count, "denied": found.denied,
        "first_seen_ms": found.first_seen_ms, "last_seen_ms": found.last_seen_ms, "why": found.why, "status": str(incident.status),
        "assignee": incident.assignee,
    }  # fmt: skip
    summary = f"incident {incident.id}, {found.kind}: {found.why}"
    namespaces = frozenset(_namespaces((*found.sources, *found.places)))
    return Event(kind, incident.id, found.last_seen_ms, found.denied > 0, summary, fields, namespaces)


def of_failed_proof(proof: Proof) -> Event:
    """A try that showed that enforcement is missing. It counts as denied: no filter by verdicts leaves it out."""
    target = proof.target
    fields: dict[str, str | int] = {
        "source": proof.source, "destination": str(target.service), "port": target.port, "address": target.address,
        "revision": proof.revision, "reason": proof.reason,
    }  # fmt: skip
    summary = f"ENFORCEMENT FAILED at {target.service}:{target.port} ({target.address}): {proof.reason}"
    namespaces = frozenset(_namespaces((proof.source, str(target.service))))
    return Event(Kind.PROOF_FAILED, proof.id, proof.ended_ms or proof.created_ms, denied=True, summary=summary, fields=fields,
                 namespaces=namespaces)  # fmt: skip


def _namespaces(ends: tuple[str, ...]) -> list[str]:
    return [end.partition("/")[0] for end in ends if "/" in end]
