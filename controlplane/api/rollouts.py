"""`/api/v1/rollouts`: services that go to enforce in stages."""

from __future__ import annotations

import flask

from controlplane.api import outcomes, shapes
from controlplane.api.access import actor
from controlplane.api.names import service_named
from controlplane.api.paging import number_of, page
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import Nothing, OpenQuery, RolloutBody
from controlplane.api.review_schemas import Rollout, Rollouts, RolloutView, StagedSidecar
from controlplane.api.services import ApiServices
from controlplane.policy import rollouts
from controlplane.policy.rollouts import Plan
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rollouts import Rollouts as Driver


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("rollouts", __name__)
    driver = Driver(services.store, services.publisher, services.review.modes, services.clock_ms)

    @routes.get("/rollouts")
    def several() -> flask.Response:
        query = read_query(OpenQuery)
        found = services.store.rollouts(query.limit + 1, number_of(query.cursor), running=not query.all)
        shown, cursor = page(found, query.limit, lambda rollout: rollout.id)
        return write(Rollouts([_rollout(rollout) for rollout in shown], cursor))

    @routes.post("/rollouts")
    def start() -> flask.Response:
        body = read_body(RolloutBody)
        topology = services.publisher.topology
        named = [service_named(topology, text, f"body.services[{index}]") for index, text in enumerate(body.services)]
        plan = Plan(body.share_percent, body.hold_seconds, body.max_denials)
        outcome = driver.start(list(dict.fromkeys(named)), plan, actor(), body.comment, body.override)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "see the sidecars and the readiness of services, and the rollouts under way")
        return write(Rollouts([_rollout(rollout) for rollout in outcome]))

    @routes.get("/rollouts/<number>")
    def one(number: str) -> flask.Response:
        read_query(Nothing)
        group = driver.group(read_number(number, "rollout"))
        if isinstance(group, Refused):
            raise outcomes.refusal(group, "list the rollouts")
        by_workload = {str(rollout.service): rollout for rollout in group}
        rows = [row for row in services.store.sidecars() if row.connected and row.workload in by_workload]
        staged = [by_workload[row.workload].includes(row.instance) for row in rows]
        listed = [
            StagedSidecar(row.workload, row.instance, included, shapes.sidecar_state(row), row.revision)
            for row, included in zip(rows, staged, strict=True)
        ]
        return write(RolloutView([_rollout(rollout) for rollout in group], listed))

    @routes.post("/rollouts/<number>/pause")
    def pause(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.done(driver.pause(read_number(number, "rollout"), actor(), paused=True), "list the rollouts"))

    @routes.post("/rollouts/<number>/resume")
    def resume(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.done(driver.pause(read_number(number, "rollout"), actor(), paused=False), "list the rollouts"))

    @routes.post("/rollouts/<number>/stop")
    def stop(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.done(driver.stop(read_number(number, "rollout"), actor()), "list the rollouts"))

    @routes.post("/rollouts/<number>/rollback")
    def roll_back(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.done(driver.roll_back(read_number(number, "rollout"), actor()), "list the rollouts"))

    return routes


def _rollout(rollout: rollouts.Rollout) -> Rollout:
    plan = rollout.plan
    return Rollout(
        id=rollout.id, service=str(rollout.service), before=str(rollout.before), share_percent=plan.share_percent,
        hold_seconds=plan.hold_seconds, max_denials=plan.max_denials, first=rollout.first, actor=rollout.actor,
        created_ms=rollout.created_ms, stage=str(rollout.stage), stage_ms=rollout.stage_ms, taken_ms=rollout.taken_ms,
        status=str(rollout.status), reason=rollout.reason, ended_ms=rollout.ended_ms, ended_by=rollout.ended_by,
        paused_by=rollout.paused_by, revision=rollout.revision, base=rollout.base,
    )  # fmt: skip
