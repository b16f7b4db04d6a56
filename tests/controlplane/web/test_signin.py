"""Who gets into the console, and how long; what its pages are kept by."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import Caller, Scope
from controlplane.policy.roles import Role
from controlplane.web.app import create_console
from controlplane.web.sessions import LIFETIME_MS, LINK_LIFETIME_MS, Sessions
from controlplane.workflow.attempts import MAX_BY_ADDRESS, MAX_BY_BOTH, WINDOW_MS
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import TOKEN, Plane


def test_a_page_leads_a_stranger_to_the_sign_in(stranger: FlaskClient) -> None:
    for path in ("/", "/blocked", "/blocked/1"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")


def test_the_page_that_was_asked_for_comes_after_the_sign_in(stranger: FlaskClient) -> None:
    """Once: the next sign-in begins at the overview again."""
    stranger.get("/blocked?q=to:shop/cart%20since:24h")
    assert sign_in(stranger, TOKEN).headers["Location"] == "/blocked?q=to:shop/cart%20since:24h"
    stranger.delete_cookie("picket-session")
    assert sign_in(stranger, TOKEN).headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/map/data", "/blocked/tail"])
def test_what_a_page_fetches_by_itself_is_not_where_a_sign_in_leads(stranger: FlaskClient, path: str) -> None:
    stranger.get(path, headers={"Sec-Fetch-Mode": "cors"})
    assert sign_in(stranger, TOKEN).headers["Location"] == "/"


@pytest.mark.parametrize("asked", ["//evil.example/", "/\\evil.example", "https://evil.example/", "/map\r\nX: y", "/map\t"])
def test_a_sign_in_leads_to_no_other_site(stranger: FlaskClient, asked: str) -> None:
    stranger.set_cookie("picket-asked", asked)
    assert sign_in(stranger, TOKEN).headers["Location"] == "/"


def test_the_owners_token_lets_in_and_is_written_down(plane: Plane, browser: FlaskClient) -> None:
    assert browser.get("/").status_code == 200
    event = plane.store.audit(1)[0]
    assert (event.actor, event.action) == ("owner (via console)", "console:sign-in")


def test_a_named_token_lets_its_owner_in_until_it_is_revoked(plane: Plane, stranger: FlaskClient) -> None:
    assert sign_in(stranger, plane.token("bob", Role.VIEWER)).status_code == 303
    assert "bob" in stranger.get("/").get_data(as_text=True)
    plane.accounts.remove("bob", "alice")
    assert stranger.get("/").status_code == 303


def by_password(client: FlaskClient, name: str, password: str) -> TestResponse:
    form = {"form_key": form_key(client, "/sign-in"), "name": name, "password": password}
    return client.post("/sign-in", data=form)


def test_a_password_lets_in_until_it_is_changed(plane: Plane, stranger: FlaskClient) -> None:
    plane.accounts.create("ann", Scope(Role.VIEWER), "correct horse battery", "owner")
    assert by_password(stranger, "ann", "correct horse battery").status_code == 303
    assert "ann" in stranger.get("/").get_data(as_text=True)
    assert plane.store.audit(1)[0].actor == "ann"
    plane.accounts.set_password("ann", "another long password", "owner")
    assert stranger.get("/").status_code == 303


def test_a_wrong_name_and_a_wrong_password_are_told_alike(plane: Plane, stranger: FlaskClient) -> None:
    plane.accounts.create("ann", Scope(Role.VIEWER), "correct horse battery", "owner")
    key = form_key(stranger, "/sign-in")
    answers = [stranger.post("/sign-in", data={"form_key": key, "name": name, "password": "wrong"}) for name in ("ann", "nobody")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].data == answers[1].data
    for name in ("ann", "nobody"):
        statuses = [by_password(stranger, name, "wrong").status_code for _ in range(MAX_BY_BOTH)]
        assert statuses == [401] * (MAX_BY_BOTH - 1) + [429], "one was tried above"


@pytest.mark.parametrize("token", ["", " ", f"{TOKEN}x", "None", "\xe9"])
def test_another_token_does_not(plane: Plane, stranger: FlaskClient, token: str) -> None:
    answer = sign_in(stranger, token)
    assert answer.status_code == 401
    assert "picket-session" not in str(answer.headers.getlist("Set-Cookie"))
    assert stranger.get("/").status_code == 303
    assert not plane.store.audit(1)


def test_a_control_plane_without_a_token_lets_no_empty_one_in(plane: Plane, sessions: Sessions) -> None:
    client = create_console(plane.services(token=None), sessions).test_client()
    client.environ_base |= {"HTTP_HOST": "localhost"}
    for token in ("", "None"):
        assert sign_in(client, token).status_code == 401


def test_the_link_signs_in_once_and_only_by_its_form(stranger: FlaskClient, sessions: Sessions) -> None:
    code = sessions.new_link()
    key = form_key(stranger, f"/sign-in/once/{code}")
    assert stranger.post("/sign-in", data={"form_key": key, "code": code}).status_code == 303
    assert stranger.get("/").status_code == 200
    assert not sessions.use_link(code)


def test_the_link_is_over_after_an_hour_and_a_new_one_voids_it(plane: Plane, sessions: Sessions) -> None:
    first, second = sessions.new_link(), sessions.new_link()
    assert not sessions.use_link(first)
    plane.now_ms += LINK_LIFETIME_MS
    assert not sessions.use_link(second)


def test_a_session_ends_with_its_time_and_with_the_sign_out(plane: Plane, browser: FlaskClient) -> None:
    assert browser.post("/sign-out", data={"form_key": form_key(browser, "/")}).status_code == 303
    assert browser.get("/").status_code == 303
    sign_in(browser, TOKEN)
    plane.now_ms += LIFETIME_MS
    assert browser.get("/").status_code == 303


def test_who_sends_a_form_after_the_session_ended_is_told_so(plane: Plane, browser: FlaskClient) -> None:
    key = form_key(browser, "/")
    plane.now_ms += LIFETIME_MS
    answer = browser.post("/services/shop/cart/mode", data={"form_key": key, "mode": "audit"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 403
    assert "you are signed out: nothing was changed" in page
    assert '<a href="/">Sign in</a>' in page


def test_a_form_without_its_key_changes_nothing(stranger: FlaskClient, browser: FlaskClient) -> None:
    for key in ("", "another"):
        assert browser.post("/sign-out", data={"form_key": key}).status_code == 403
    assert browser.get("/").status_code == 200


def test_the_sign_in_form_needs_the_cookie_that_came_with_it(stranger: FlaskClient) -> None:
    key = form_key(stranger, "/sign-in")
    stranger.delete_cookie("picket-form")
    assert stranger.post("/sign-in", data={"form_key": key, "token": TOKEN}).status_code == 403


def test_a_page_that_loads_meanwhile_does_not_take_the_form_away(stranger: FlaskClient) -> None:
    """Browsers ask for pages by themselves, and people have several tabs."""
    key = form_key(stranger, "/sign-in")
    assert form_key(stranger, "/sign-in") == key
    assert stranger.post("/sign-in", data={"form_key": key, "token": TOKEN}).status_code == 303


def test_many_failures_stop_sign_ins_for_a_minute(plane: Plane, stranger: FlaskClient) -> None:
    for _ in range(MAX_BY_ADDRESS):
        assert sign_in(stranger, "wrong").status_code == 401
    assert sign_in(stranger, TOKEN).status_code == 429
    plane.now_ms += WINDOW_MS
    assert sign_in(stranger, TOKEN).status_code == 303


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [({}, False), ({"X-Forwarded-Proto": "https"}, True), ({"Host": "mesh.example.org"}, True)],
)
def test_the_cookie_is_for_the_console_alone(stranger: FlaskClient, headers: dict[str, str], is_secure: bool) -> None:
    (cookie,) = stranger.get("/sign-in", headers=headers).headers.getlist("Set-Cookie")
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert ("Secure" in cookie.split("; ")) == is_secure


def test_a_name_that_is_not_ours_is_refused(stranger: FlaskClient) -> None:
    assert stranger.get("/sign-in", headers={"Host": "evil.example"}).status_code == 421


def test_a_page_of_another_site_can_lead_here_and_send_nothing(browser: FlaskClient) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    key = form_key(browser, "/")
    assert browser.post("/sign-out", data={"form_key": key}, headers=elsewhere).status_code == 403
    assert browser.get("/blocked", headers=elsewhere).status_code == 403
    page = browser.get("/blocked?port=443", headers=elsewhere | {"Sec-Fetch-Mode": "navigate"}).get_data(as_text=True)
    assert "url=/blocked?port=443" in page


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "///evil.example/", "/\\/evil.example/"])
def test_the_page_that_leads_on_leads_nowhere_else(browser: FlaskClient, path: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = browser.get("/", headers=headers, environ_overrides={"PATH_INFO": path}).get_data(as_text=True)
    assert 'url=/evil.example/"' in page


@pytest.mark.parametrize("path", ["/\t/evil.example/", "/\r\n/evil.example/", "/\t\\evil.example/"])
def test_what_browsers_leave_out_of_an_address_leads_nowhere_else_either(browser: FlaskClient, path: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = browser.get("/", headers=headers, environ_overrides={"PATH_INFO": path}).get_data(as_text=True)
    assert re.search('url=/%0[9D][^\\s]*evil[.]example/"', page)


def test_no_page_may_run_a_script_or_be_framed(browser: FlaskClient) -> None:
    for path in ("/", "/services", "/nothing", "/sign-in", "/static/console.css"):
        with browser.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy


def test_who_came_in_by_a_token_of_the_owners_that_was_replaced_is_out(plane: Plane) -> None:
    """Also over the restart by which it is replaced; users came in by something of their own."""
    before, after = (Sessions(plane.store, lambda: plane.now_ms, owner) for owner in ("of before", "of now"))
    owner, user = before.begin(None), before.begin(Caller("ann", Scope(Role.VIEWER), "token:1"))
    assert [sessions.find(owner) is not None for sessions in (before, after)] == [True, False]
    assert [sessions.find(user) is not None for sessions in (before, after)] == [True, True]


def test_a_restart_signs_nobody_out_and_another_control_plane_knows_everybody(plane: Plane, browser: FlaskClient) -> None:
    other = create_console(plane.services(), Sessions(plane.store, lambda: plane.now_ms)).test_client()
    other.environ_base |= {"HTTP_HOST": "localhost"}
    cookie = browser.get_cookie("picket-session")
    assert cookie is not None
    other.set_cookie("picket-session", cookie.value)
    assert other.get("/").status_code == 200
    left = browser.post("/sign-out", data={"form_key": form_key(other, "/")})  # the same form key there and here
    assert left.status_code == 303
    assert other.get("/").status_code == 303
    kept = b"".join(file.read_bytes() for file in plane.directory.glob("picket.db*"))
    assert token_hash(cookie.value).encode() in kept
    assert cookie.value.encode() not in kept
