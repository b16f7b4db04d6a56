"""`create_app(services)`: the API as one WSGI application. Holds no state and no rule of its own."""

from __future__ import annotations

import flask

from controlplane.api import (
    access,
    access_tokens,
    applying,
    asks,
    audit,
    authority,
    breakglass,
    etags,
    explain,
    graph,
    health,
    idempotency,
    imports,
    incidents,
    leases,
    modes,
    openapi,
    owners,
    parity,
    policy,
    preview,
    problems,
    proofs,
    proposals,
    readiness,
    reading,
    replay,
    rollouts,
    sidecars,
    sinks,
    tokens,
    users,
    violations,
)
from controlplane.api.services import ApiServices, HealthReport

PREFIX = "/api/v1"

__all__ = ["ApiServices", "HealthReport", "create_app"]


def create_app(services: ApiServices) -> flask.Flask:
    """Put the routes together, behind one check of who calls."""
    app = flask.Flask("picket", static_folder=None, template_folder=None)
    reading.install(app)
    problems.install(app)
    access.install(app, services.token, services.host_names, services.accounts)
    idempotency.install(app, services)
    etags.install(app)
    app.register_blueprint(health.blueprint(services))
    learning = (graph, imports, readiness, proposals, owners, preview, replay, parity, explain, asks)
    enforcing = (policy, applying, modes, rollouts, proofs, leases, breakglass)
    for topic in (*learning, *enforcing, violations, incidents, sidecars, tokens, users, access_tokens, authority, sinks, audit):
        app.register_blueprint(topic.blueprint(services), url_prefix=PREFIX)
    app.register_blueprint(openapi.blueprint(), url_prefix=PREFIX)
    return app
