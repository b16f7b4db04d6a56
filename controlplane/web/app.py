"""Puts the console's pages together, and before them the choice between page and API. Holds no state and no rule of its own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import jinja2

from controlplane.api.access import PUBLIC_PATHS
from controlplane.api.app import PREFIX
from controlplane.api.problems import Problem
from controlplane.api.services import ApiServices
from controlplane.store.interface import StoreError
from controlplane.web import (
    acting,
    audit,
    blocked,
    check,
    documents,
    enforcing,
    guard,
    incidents,
    leases,
    livemap,
    maps,
    overview,
    reference,
    review,
    revisions,
    roles,
    rollouts,
    services,
    settings,
    sidecars,
    signin,
    tail,
    users,
)
from controlplane.web.guard import Console
from controlplane.web.oidc import pages as oidc_pages
from controlplane.web.oidc.document import OidcSettings
from controlplane.web.sessions import Sessions
from controlplane.web.tails import Tails

_API_PATHS = PUBLIC_PATHS | {"/metrics"}
_MAX_FORM_BYTES = 64 * 1024
_PAGES = (
    signin,
    overview,
    maps,
    livemap,
    services,
    enforcing,
    leases,
    documents,
    review,
    check,
    revisions,
    rollouts,
    blocked,
    tail,
    acting,
    incidents,
    sidecars,
    audit,
    settings,
    users,
    reference,
)


def create_console(
    api: ApiServices, sessions: Sessions, oidc: OidcSettings | None = None, tails: Tails | None = None
) -> flask.Flask:
    """The console as one WSGI application."""
    app = flask.Flask("picket-console", root_path=guard.__file__.rpartition("/")[0], static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_FORM_BYTES
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.jinja_env.filters["time"] = _time
    app.jinja_env.filters["ago"] = lambda at_ms: _ago(api.clock_ms() - at_ms)
    app.jinja_env.globals["signed_in"] = lambda: guard.who(flask.g.session) if flask.g.get("session") else ""
    app.jinja_env.globals["may"] = lambda endpoint: guard.may(roles.least(endpoint))
    console = Console(api, sessions, tails or Tails(), "" if oidc is None else oidc.proof)
    guard.install(app, console)
    app.jinja_env.globals["has_page"] = lambda name: services.has_page(console, name)
    for page in _PAGES:
        app.register_blueprint(page.blueprint(console))
    app.jinja_env.globals["let_in"] = lambda workload: _let_in(workload, delegated=api.delegated)
    app.jinja_env.globals["by_provider"] = oidc is not None
    if oidc is not None:
        app.register_blueprint(oidc_pages.blueprint(console, oidc))

    @app.errorhandler(404)
    def nothing(_: Exception) -> tuple[str, int]:
        found = Problem("", "Not Found", 404, "there is no such page", "", "begin at the overview")
        return flask.render_template("problem.html", problem=found), 404

    @app.errorhandler(StoreError)
    def store_failed(error: StoreError) -> tuple[str, int]:
        found = Problem("", "Service Unavailable", 503, str(error), "", "see /readyz and the control plane's log")
        return flask.render_template("problem.html", problem=found), 503

    return app


def together(api: WSGIApplication, console: WSGIApplication) -> WSGIApplication:
    """Both at one address: what begins with the API's prefix, and what probes ask for, is the API's; the rest are pages."""

    def choose(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        is_api = path in _API_PATHS or path.startswith(f"{PREFIX.removesuffix('/v1')}/")
        return (api if is_api else console)(environ, start)

    return choose


def _let_in(workload: str, *, delegated: bool) -> str:
    """The command by which a workload gets its sidecar."""
    return f"picket sidecar --identity workload-api --workload {workload}" if delegated else f"picket token {workload}"


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(past_ms: int) -> str:
    seconds = past_ms // 1000
    if seconds < 60:
        return "just now"
    for unit, size in (("day", 86_400), ("hour", 3_600)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"{seconds // 60} min ago"
