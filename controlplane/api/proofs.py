"""`/api/v1/proofs`: whether forbidden connections are denied and reported, as sidecars that tried them saw it."""

from __future__ import annotations

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.names import service_named
from controlplane.api.paging import number_of, page, page_after
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import ProofBody, ProofsQuery
from controlplane.api.review_schemas import Proof, Proofs
from controlplane.api.services import ApiServices
from controlplane.policy import proofs
from controlplane.workflow.proofs import Proofs as Asking
from controlplane.workflow.revisions import Refused


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("proofs", __name__)
    asking = Asking(services.store, services.publisher, services.clock_ms, enabled=services.proofs)

    @routes.get("/proofs")
    def several() -> flask.Response:
        query = read_query(ProofsQuery)
        if query.all or query.revision is not None:
            found = services.store.proofs(query.limit + 1, number_of(query.cursor), revision=query.revision)
            shown, cursor = page(found, query.limit, lambda proof: proof.id)
        else:
            newest = sorted(services.store.newest_proofs(), key=_place)
            shown, cursor = page_after(newest, query.limit, query.cursor, _place, tuple[str, int, str])
        return write(Proofs(services.publisher.policy.revision, [_proof(proof) for proof in shown], cursor))

    @routes.post("/proofs")
    def ask() -> flask.Response:
        body = read_body(ProofBody)
        topology = services.publisher.topology
        named = [service_named(topology, text, f"body.services[{index}]") for index, text in enumerate(body.services)]
        outcome = asking.ask(list(dict.fromkeys(named)), actor()) if named else asking.ask_all(actor())
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "see the modes of services and where the topology says that they are")
        return write(Proofs(services.publisher.policy.revision, [_proof(proof) for proof in outcome]))

    return routes


def _place(proof: proofs.Proof) -> tuple[str, int, str]:
    return str(proof.target.service), proof.target.port, proof.target.address


def _proof(proof: proofs.Proof) -> Proof:
    target = proof.target
    return Proof(
        id=proof.id, service=str(target.service), port=target.port, address=target.address, revision=proof.revision,
        actor=proof.actor, created_ms=proof.created_ms, status=str(proof.status), source=proof.source, instance=proof.instance,
        told=proof.told, violation=proof.violation, deny_id=proof.deny_id, reason=proof.reason, ended_ms=proof.ended_ms,
    )  # fmt: skip
