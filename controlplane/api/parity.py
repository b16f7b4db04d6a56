"""`/api/v1/parity`: where sidecars said something else of a use than the policy that held."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import flask

from controlplane.api.reading import read_query, write
from controlplane.api.replay import MAX_FLOWS
from controlplane.api.requests import ReplayQuery
from controlplane.api.review_schemas import Disagreement, Parity, Unjudged, Word
from controlplane.api.services import ApiServices
from controlplane.graph import parity
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.parity import Cause
from controlplane.policy.rules import Rule
from controlplane.workflow.parity import judge

_WORDS: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.CHANGED: "the policy or a mode changed in that hour, and what was reported fits one of them",
        Cause.NO_SIDECAR: "no sidecar reported them (imported), or they were stored by an older version",
        Cause.NOT_KEPT: "the revision or the modes of then are not known",
        Cause.NEVER_PASSED: "Envoy refused them by itself, whatever is allowed",
        Cause.UNREAD: "they name no workload or service",
        Cause.UNTOLD: "their paths were not kept, for there were too many",
    }
)


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("parity", __name__)

    @routes.get("/parity")
    def show() -> flask.Response:
        days = read_query(ReplayQuery).days
        since_hour = services.clock_ms() // HOUR_MS - days * 24
        found, complete = judge(services.store, services.publisher.topology, since_hour, MAX_FLOWS)
        return write(
            Parity(
                days=days, flows=found.flows, complete=complete, agreed=found.agreed, disagreed=found.disagreed,
                disagreements=[_disagreement(one) for one in found.disagreements],
                unjudged=[Unjudged(cause=str(c), text=_WORDS[c], count=found.unjudged[c]) for c in Cause if found.unjudged.get(c)],
            )
        )  # fmt: skip

    return routes


def _disagreement(found: parity.Disagreement) -> Disagreement:
    return Disagreement(
        **found.edge._asdict(), direction=found.direction, reported=_word(found.reported), evaluated=_word(found.evaluated),
        revision=found.revision, mode=str(found.mode), count=found.count, first_hour_ms=found.first_hour * HOUR_MS,
        last_hour_ms=found.last_hour * HOUR_MS,
    )  # fmt: skip


def _word(said: parity.Word) -> Word:
    return Word(verdict=str(said.verdict), deny_id=said.deny_id, rule="" if said.rule is None else _rule(said.rule))


def _rule(rule: Rule) -> str:
    asked = ", ".join(f"{match.method or '*'} {match.path or '*'}" for match in rule.http)
    return f"{rule.source} -> :{rule.port} {asked or 'anything'}"
