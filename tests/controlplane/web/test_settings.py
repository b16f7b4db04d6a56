"""The settings page: users and tokens for admins, one's own password, owners and sinks for everybody."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from controlplane.policy.accounts import Caller, Scope
from controlplane.policy.owners import Owners, OwnersError, parse_owners
from controlplane.policy.roles import Role
from controlplane.web.app import create_console
from controlplane.web.sessions import Sessions
from controlplane.workflow.delivery import SinkState
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import TOKEN, Plane

PASSWORD = "correct horse battery"


def post(client: FlaskClient, path: str, **fields: str) -> tuple[int, str]:
    answer = client.post(path, data={"form_key": form_key(client, "/settings")} | fields)
    return answer.status_code, answer.get_data(as_text=True)


def by_password(plane: Plane, client: FlaskClient, role: Role = Role.VIEWER) -> None:
    plane.accounts.create("ann", Scope(role), PASSWORD, "owner")
    form = {"form_key": form_key(client, "/sign-in"), "name": "ann", "password": PASSWORD}
    assert client.post("/sign-in", data=form).status_code == 303


def test_an_admin_makes_a_user_whose_token_is_shown_once(plane: Plane, browser: FlaskClient) -> None:
    status, page = post(browser, "/settings/users", name="bob", role="approver", namespaces="shop, ops")
    assert status == 200
    secret = re.search(r"<code>(picket-access-[^<]+)</code>", page)
    assert secret is not None
    caller = plane.accounts.caller(secret[1])
    assert caller is not None
    assert (caller.name, caller.scope) == ("bob", Scope(Role.APPROVER, ("shop", "ops")))
    for path in ("/settings", "/settings/users/bob"):
        again = browser.get(path).get_data(as_text=True)
        assert "bob" in again
        assert secret[1] not in again


def test_an_admin_changes_a_user_and_takes_it_away(plane: Plane, browser: FlaskClient) -> None:
    assert post(browser, "/settings/users", name="bob", role="viewer", password=PASSWORD)[0] == 303
    assert post(browser, "/settings/users/bob/scope", role="responder", namespaces="shop")[0] == 303
    assert post(browser, "/settings/users/bob/password", password="another long password")[0] == 303
    assert post(browser, "/settings/users/bob/tokens", label="ci", role="viewer", days="1")[0] == 200
    caller = plane.accounts.sign_in("bob", "another long password", "")
    assert isinstance(caller, Caller)
    assert caller.scope == Scope(Role.RESPONDER, ("shop",))
    assert "ci" in browser.get("/settings/users/bob").get_data(as_text=True)
    assert post(browser, "/settings/tokens/1/revoke")[0] == 303
    assert "revoked" in browser.get("/settings/users/bob").get_data(as_text=True)
    assert post(browser, "/settings/users/bob/remove")[0] == 303
    assert browser.get("/settings/users/bob").status_code == 404
    assert {event.actor for event in plane.store.audit(20)} == {"owner (via console)"}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Bob", "role": "viewer"},
        {"name": "bob", "role": "king"},
        {"name": "bob", "role": "viewer", "password": "short"},
        {"name": "bob", "role": "viewer", "namespaces": "a/b"},
    ],
)
def test_what_cannot_be_is_refused_in_words(plane: Plane, browser: FlaskClient, fields: dict[str, str]) -> None:
    status, page = post(browser, "/settings/users", **fields)
    assert status in {400, 422}
    assert "What to do" in page
    assert plane.store.accounts() == []


def test_who_is_no_admin_sees_no_user(plane: Plane, stranger: FlaskClient) -> None:
    plane.token("secretive", Role.VIEWER)
    sign_in(stranger, plane.token("dora", Role.APPROVER))
    page = stranger.get("/settings").get_data(as_text=True)
    assert "secretive" not in page
    assert "dora: approver" in page
    assert stranger.get("/settings/users/secretive").status_code == 403


def test_a_user_changes_the_own_password_with_the_one_of_now(plane: Plane, stranger: FlaskClient) -> None:
    by_password(plane, stranger)
    assert post(stranger, "/settings/password", now="wrong", password="another long password")[0] == 403
    assert post(stranger, "/settings/password", now=PASSWORD, password="short")[0] == 422
    assert post(stranger, "/settings/password", now=PASSWORD, password="another long password")[0] == 303
    assert stranger.get("/").status_code == 303, "the session of before is over"
    assert isinstance(plane.accounts.sign_in("ann", "another long password", ""), Caller)


def test_who_came_by_a_token_has_no_password_to_change(browser: FlaskClient) -> None:
    assert post(browser, "/settings/password", now="", password="another long password")[0] == 409


def test_owners_and_sinks_are_shown(plane: Plane, sessions: Sessions) -> None:
    state = SinkState("siem", "webhook", "https://siem.example.org", 3, 5, 0, 1, 2, 1_000, "no answer", 2_000)
    client = create_console(replace(plane.services(), sinks=lambda: [state]), sessions).test_client()
    client.environ_base |= {"HTTP_HOST": "localhost"}
    sign_in(client, TOKEN)
    assert "any approver decides" in client.get("/settings").get_data(as_text=True)
    plane.owners = parse_owners("shop/* carol\n")
    page = client.get("/settings").get_data(as_text=True)
    assert "carol" in page
    assert "tries again" in page
    assert "no answer" in page


def test_an_owners_file_that_cannot_be_read_is_told(plane: Plane, browser: FlaskClient) -> None:
    def broken() -> Owners:
        raise OwnersError("owners: line 3 is no line")

    plane.read_owners = broken
    assert "owners: line 3 is no line" in browser.get("/settings").get_data(as_text=True)
