"""Signing in by an identity provider that answers over real HTTP with real signatures, and with what must not let anybody in."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from controlplane.policy.accounts import Scope
from controlplane.policy.roles import Role
from controlplane.web.app import create_console
from controlplane.web.oidc.document import OidcSettings, read_oidc
from controlplane.web.oidc.waiting import WAIT_MS
from controlplane.web.sessions import Sessions
from tests.controlplane.web.browsing import form_key
from tests.controlplane.web.oidc.idp import CLIENT, SECRET, Idp, running
from tests.harness.plane import Plane

#: The run may be long by the time that a test of a moment when it was collected comes.
DAY_SECONDS = 86_400
DOCUMENT = """
issuer: ISSUER
client-id: picket
client-secret-file: secret
console: http://localhost
groups:
- {group: platform, role: admin}
- {group: shop-developers, role: approver, namespaces: [shop]}
"""


@pytest.fixture
def idp() -> Iterator[Idp]:
    with running() as made:
        yield made


@pytest.fixture
def settings(idp: Idp, tmp_path: Path) -> OidcSettings:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "oidc.yaml").write_text(DOCUMENT.replace("ISSUER", idp.issuer))
    return read_oidc(tmp_path / "oidc.yaml")


@pytest.fixture
def new_browser(plane: Plane, settings: OidcSettings) -> Callable[[], FlaskClient]:
    """Makes browsers of one console."""
    plane.now_ms = int(time.time() * 1000)
    app = create_console(plane.services(), Sessions(plane.store, lambda: plane.now_ms), settings)

    def make() -> FlaskClient:
        client = app.test_client()
        client.environ_base |= {"HTTP_HOST": "localhost"}
        return client

    return make


@pytest.fixture
def stranger(new_browser: Callable[[], FlaskClient]) -> FlaskClient:
    return new_browser()


def at_the_provider(client: FlaskClient) -> str:
    """Go there, sign in, and be sent back: where to."""
    parts = urlsplit(client.get("/sign-in/oidc").headers["Location"])
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    location = str(answer.headers["Location"])
    assert location.startswith("http://localhost/sign-in/oidc/back?")
    return location.removeprefix("http://localhost")


def sign_in(client: FlaskClient) -> TestResponse:
    return client.get(at_the_provider(client))


def test_a_member_of_a_known_group_comes_in_with_its_role(plane: Plane, stranger: FlaskClient) -> None:
    assert "Sign in with your organisation" in stranger.get("/sign-in").get_data(as_text=True)
    answer = sign_in(stranger)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "ann@example.org" in stranger.get("/").get_data(as_text=True)
    event = plane.store.audit(1)[0]
    assert (event.actor, event.action) == ("ann@example.org", "console:sign-in")


def test_a_sign_in_holds_while_the_file_lets_it_in_and_does_not_outlive_that(
    plane: Plane, stranger: FlaskClient, settings: OidcSettings
) -> None:
    """Sessions outlive a restart, by which the file is read anew: who has no role any more, or another one, is out."""
    sign_in(stranger)
    kept = stranger.get_cookie("picket-session")
    assert kept is not None

    def enters(now: OidcSettings | None) -> bool:
        client = create_console(plane.services(), Sessions(plane.store, lambda: plane.now_ms), now).test_client()
        client.set_cookie("picket-session", kept.value)
        return client.get("/", headers={"Host": "localhost"}).status_code == 200

    assert enters(replace(settings, client_secret="renewed", session_ms=1))
    assert not enters(replace(settings, groups=settings.groups[1:]))
    assert not enters(replace(settings, issuer="https://elsewhere.example"))
    assert not enters(None)


def test_the_role_holds_in_its_namespaces_alone(plane: Plane, stranger: FlaskClient) -> None:
    sign_in(stranger)
    key = form_key(stranger, "/reference")

    def changed(service: str) -> str:
        form = {"form_key": key, "body": f'{{"mode": "audit", "services": ["{service}"]}}'}
        return stranger.post("/reference/modes_change", data=form).get_data(as_text=True)

    assert "Answer: 403" in changed("ops/redis")
    assert "Answer: 200" in changed("shop/redis")
    assert plane.store.audit(1)[0].actor == "ann@example.org"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another-client"}, "aud"),
        ({"aud": [CLIENT, "another-client"]}, "azp"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"exp": int(time.time()) - DAY_SECONDS}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": int(time.time()) + DAY_SECONDS}, "future"),
        ({"email_verified": False}, "verified"),
        ({"email_verified": "true"}, "verified"),
        ({"email": "owner (via console)"}, "no name"),
        ({"email": "picket"}, "no name"),
        ({"email": None}, "no name"),
    ],
)
def test_a_token_that_is_not_right_in_all_lets_nobody_in(
    plane: Plane, idp: Idp, stranger: FlaskClient, claims: dict[str, object], told: str
) -> None:
    idp.claims = claims
    answer = sign_in(stranger)
    assert answer.status_code == 401
    assert told in answer.get_data(as_text=True)
    assert stranger.get("/").status_code == 303
    assert not plane.store.audit(1)


@pytest.mark.parametrize("groups", [["everybody"], [], None, "platform", [1, None, {"platform": 1}]])
def test_who_is_in_no_known_group_is_kept_out(idp: Idp, stranger: FlaskClient, groups: object) -> None:
    idp.claims = {"groups": groups}
    answer = sign_in(stranger)
    assert answer.status_code == 403
    assert "none of your groups has a role here" in answer.get_data(as_text=True)
    assert stranger.get("/").status_code == 303


def test_a_token_that_another_key_signed_lets_nobody_in(idp: Idp, stranger: FlaskClient) -> None:
    idp.signs_with = RSAKey.generate_key(2048, {"kid": "one"})
    assert sign_in(stranger).status_code == 401


def test_a_provider_may_change_its_keys(plane: Plane, idp: Idp, stranger: FlaskClient) -> None:
    assert sign_in(stranger).status_code == 303
    idp.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    plane.now_ms += 11_000
    assert sign_in(stranger).status_code == 303


def test_what_came_back_counts_once(idp: Idp, stranger: FlaskClient, new_browser: Callable[[], FlaskClient]) -> None:
    back = at_the_provider(stranger)
    assert stranger.get(back).status_code == 303
    redeemed = idp.asked.count("/token")
    assert stranger.get(back).status_code == 401
    assert idp.asked.count("/token") == redeemed, "a used state asks nobody"


def test_a_code_is_redeemed_once(stranger: FlaskClient) -> None:
    """Also when somebody puts an old code to a new state."""
    old = parse_qs(urlsplit(at_the_provider(stranger)).query)["code"][0]
    state = parse_qs(urlsplit(at_the_provider(stranger)).query)["state"][0]
    assert stranger.get(f"/sign-in/oidc/back?code={old}&state={state}").status_code == 401


def test_what_another_browser_began_counts_for_nobody(stranger: FlaskClient, new_browser: Callable[[], FlaskClient]) -> None:
    back = at_the_provider(stranger)
    other = new_browser()
    at_the_provider(other)
    assert other.get(back).status_code == 401
    assert stranger.get(back).status_code == 401, "it is used up"


def test_who_takes_too_long_begins_anew(plane: Plane, stranger: FlaskClient) -> None:
    back = at_the_provider(stranger)
    plane.now_ms += WAIT_MS
    assert stranger.get(back).status_code == 401


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?error=access_denied&state=x", "?code=x&state=x"])
def test_what_nobody_asked_for_is_refused(stranger: FlaskClient, query: str) -> None:
    assert stranger.get(f"/sign-in/oidc/back{query}").status_code == 401


def test_a_local_user_is_nobody_elses(plane: Plane, stranger: FlaskClient) -> None:
    plane.accounts.create("ann@example.org", Scope(Role.VIEWER), "", "owner")
    assert sign_in(stranger).status_code == 403


def test_signing_out_goes_on_to_the_provider(idp: Idp, stranger: FlaskClient) -> None:
    sign_in(stranger)
    answer = stranger.post("/sign-out", data={"form_key": form_key(stranger, "/reference")})
    assert answer.headers["Location"] == "/sign-in/oidc/out"
    assert f"url={idp.issuer}/out?client_id=picket" in stranger.get("/sign-in/oidc/out").get_data(as_text=True)
    assert stranger.get("/").status_code == 303


@pytest.mark.parametrize(
    "metadata", [{"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"}, {"jwks_uri": None}]
)
def test_a_provider_that_leads_elsewhere_is_not_followed(idp: Idp, stranger: FlaskClient, metadata: dict[str, object]) -> None:
    idp.metadata = metadata
    assert stranger.get("/sign-in/oidc").status_code == 502


def test_the_secret_is_in_no_log(idp: Idp, stranger: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    idp.claims = {"nonce": "another"}
    sign_in(stranger)
    idp.metadata = {"jwks_uri": None}
    stranger.get("/sign-in/oidc")
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err
