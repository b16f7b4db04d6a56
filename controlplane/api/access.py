"""Who may call the API, and under which name it is written down. Never looks at what is asked for.

Over TCP every caller brings a bearer token, also on loopback: other users and web pages reach that, too. A Unix socket is
guarded by its permissions, and the kernel names the user behind it. What a caller over TCP calls itself is a claim, and the
audit log says so ("alice (via token)"). A named token says who it is, and its role what it may do; the owner's token and the
socket may do all.
"""

from __future__ import annotations

import hmac
import re
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import flask

from controlplane.api.problems import problem
from controlplane.api.reading import SAFE_METHODS
from controlplane.api.roles import BY_NAMESPACE, least
from controlplane.policy.accounts import Caller
from controlplane.policy.actors import claimed
from controlplane.policy.roles import Role
from controlplane.workflow import scopes
from controlplane.workflow.accounts import Accounts

#: The user behind a Unix socket's peer, put into the WSGI environment by `listen`; headers cannot make this key.
PEER_USER = "picket.peer_user"
#: The user whom the console has signed in, put there by it in the same way.
CALLER = "picket.caller"
ACTOR_HEADER = "X-Picket-Actor"
#: Served without a token and under any name: probes have neither.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
#: Where to listen, and never where to call.
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # nothing is bound here
_ACTOR = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")


def install(app: flask.Flask, token: str | None, host_names: tuple[str, ...], accounts: Accounts) -> None:
    """Check every request before its route runs."""
    expected = token.encode() if token else None
    app.teardown_request(leave_scope)

    @app.before_request
    def check() -> None:
        request = flask.request
        refuse_cross_site()
        if request.path in PUBLIC_PATHS:
            return
        if not {PEER_USER, CALLER} & request.environ.keys():
            check_host(host_names)
            _check_token(expected, accounts)
        if request.endpoint is not None:
            require(least(request.endpoint))
            stay_within(request.endpoint, caller())
        if request.method not in SAFE_METHODS and request.mimetype != "application/json":
            raise problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", "a call that changes something is sent as JSON",
                where="Content-Type", remedy="send Content-Type: application/json",
            )  # fmt: skip

    @app.after_request
    def close(response: flask.Response) -> flask.Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Bearer realm="picket"'
        return response


def actor() -> str:
    """The name that the audit log gets.

    Raises:
        ApiProblemError: a claimed name that is no name.
    """
    peer = flask.request.environ.get(PEER_USER)
    if peer is not None:
        return str(peer)
    found = caller()
    if found is not None:
        return found.name
    name = flask.request.headers.get(ACTOR_HEADER, "unnamed")
    if not _ACTOR.fullmatch(name):
        raise problem(
            HTTPStatus.BAD_REQUEST, "actor", "the caller's name is not 1 to 64 printable ASCII characters",
            where=ACTOR_HEADER, remedy="send a plain name, or leave the header out",
        )  # fmt: skip
    return claimed(name)


def require(wanted: Role) -> None:
    """Go on only for a caller with this role or more.

    Raises:
        ApiProblemError: the caller's role is less.
    """
    found = caller()
    if found is None or found.role.may(wanted):
        return
    raise problem(
        HTTPStatus.FORBIDDEN, "role", f"{found.name} is {found.role}, and this asks for {wanted}",
        where="Authorization", remedy="ask somebody who has the role, or an admin for a token with it",
    )  # fmt: skip


def stay_within(endpoint: str, who: Caller | None) -> None:
    """From here to `leave_scope`, act within the namespaces of whoever calls.

    Raises:
        ApiProblemError: it would change what is outside of any namespace.
    """
    flask.g.scope = scopes.begin(None if who is None else who.scope)
    if who is None or who.scope.namespaces is None or flask.request.method in SAFE_METHODS or endpoint in BY_NAMESPACE:
        return
    where = ", ".join(who.scope.namespaces)
    raise problem(
        HTTPStatus.FORBIDDEN, "role", f"{who.name} is {who.role} in {where}, and this asks for {least(endpoint)} in the whole mesh",
        where="Authorization", remedy="ask somebody who has that role",
    )  # fmt: skip


def leave_scope(_: BaseException | None = None) -> None:
    """Act as before the request."""
    token = flask.g.pop("scope", None)
    if token is not None:
        scopes.end(token)


def caller() -> Caller | None:
    """The user who calls; ``None`` for the owner, by the Unix socket or the control plane's own token."""
    found = flask.request.environ.get(CALLER)
    return found if isinstance(found, Caller) else None


def _check_token(expected: bytes | None, accounts: Accounts) -> None:
    scheme, _, given = flask.request.headers.get("Authorization", "").partition(" ")
    if expected is not None and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected):
        return
    if scheme.lower() == "bearer" and (user := accounts.caller(given.strip())) is not None:
        flask.request.environ[CALLER] = user
        return
    raise problem(
        HTTPStatus.UNAUTHORIZED, "token", "the API's token is missing or wrong",
        where="Authorization", remedy="send Authorization: Bearer TOKEN; it is in the file api-token of the data directory",
    )  # fmt: skip


def check_host(host_names: tuple[str, ...]) -> None:
    """Against DNS rebinding: a name that somebody pointed here is not a name of ours.

    Raises:
        ApiProblemError: it was called by another name than these, or than this machine's loopback.
    """
    known = frozenset(name.lower().rstrip(".") for name in host_names) - _ANYWHERE
    name = host_name(f"//{flask.request.headers.get('Host', '')}")
    if name is not None and (name in known or is_loopback(name)):
        return
    raise problem(
        HTTPStatus.MISDIRECTED_REQUEST, "host", "the API is not called by this name",
        where="Host", remedy="call it by localhost, or add the name with --api-host-name",
    )  # fmt: skip


def refuse_cross_site() -> None:
    """Let only own pages and programs ask.

    Raises:
        ApiProblemError: a page of another site asked.
    """
    headers = flask.request.headers
    origin = headers.get("Origin")
    foreign = origin is not None and _authority(origin) != headers.get("Host", "").lower()
    if foreign or headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise problem(
            HTTPStatus.FORBIDDEN, "cross-site", "a page of another site asked for this",
            where="Origin" if foreign else "Sec-Fetch-Site", remedy="call the API from its own pages or from a program",
        )  # fmt: skip


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def host_name(address: str) -> str | None:
    """The host of ``//host:port``; ``None`` for anything else."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises when it is no port
    except ValueError:
        return None
    return parts.hostname.lower().rstrip(".") if parts.hostname and not parts.path and parts.username is None else None


def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
