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
import structlog

from controlplane.api.problems import problem
from controlplane.api.reading import SAFE_METHODS
from controlplane.api.roles import least
from controlplane.api.users import User, Users, UsersError
from controlplane.policy.actors import claimed
from controlplane.policy.roles import Role

#: The user behind a Unix socket's peer, put into the WSGI environment by `listen`; headers cannot make this key.
PEER_USER = "picket.peer_user"
#: The user whom the console has signed in, put there by it in the same way.
CALLER = "picket.caller"
_log = structlog.get_logger("picket.api")
ACTOR_HEADER = "X-Picket-Actor"
#: Served without a token and under any name: probes have neither.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
#: Where to listen, and never where to call.
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # nothing is bound here
_ACTOR = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")


def install(app: flask.Flask, token: str | None, host_names: tuple[str, ...], users: Users | None) -> None:
    """Check every request before its route runs."""
    expected = token.encode() if token else None

    @app.before_request
    def check() -> None:
        request = flask.request
        refuse_cross_site()
        if request.path in PUBLIC_PATHS:
            return
        if not {PEER_USER, CALLER} & request.environ.keys():
            check_host(host_names)
            _check_token(expected, users)
        if request.endpoint is not None:
            require(least(request.endpoint))
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
    caller = _caller()
    if caller is not None:
        return caller.name
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
    caller = _caller()
    if caller is None or caller.role.may(wanted):
        return
    raise problem(
        HTTPStatus.FORBIDDEN, "role", f"{caller.name} is {caller.role}, and this asks for {wanted}",
        where="Authorization", remedy="ask somebody who has the role, or an admin for a token with it",
    )  # fmt: skip


def _caller() -> User | None:
    """Who a named token belongs to; ``None`` for the owner, by the Unix socket or the control plane's own token."""
    caller = flask.request.environ.get(CALLER)
    return caller if isinstance(caller, User) else None


def _named(given: str, users: Users | None) -> User | None:
    try:
        return users.caller(given) if users is not None else None
    except UsersError as error:
        _log.error("nobody comes in by a named token", error=str(error))
        return None


def _check_token(expected: bytes | None, users: Users | None) -> None:
    scheme, _, given = flask.request.headers.get("Authorization", "").partition(" ")
    if expected is not None and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected):
        return
    if scheme.lower() == "bearer" and (user := _named(given.strip(), users)) is not None:
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
