"""What a responder sees of an incident and does about it, and about a violation."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from controlplane.policy.rules import Mode
from controlplane.web import incidents, overview
from controlplane.web.sessions import Sessions
from controlplane.workflow.incidents import Incidents
from tests.controlplane.web.browsing import form_key
from tests.harness.plane import PAY, Plane

_CHARGE = PAY._replace(path="/charge")


def look(plane: Plane) -> None:
    Incidents(plane.store, plane.publisher, lambda: plane.now_ms).look()


def send(browser: FlaskClient, page: str, action: str, **fields: str) -> str:
    """Send a form of a page, and follow to where it leads."""
    assert f'action="{action}"' in browser.get(page).get_data(as_text=True)
    answer = browser.post(action, data={"form_key": form_key(browser, page), **fields})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return browser.get(answer.headers["Location"]).get_data(as_text=True)


def test_no_incident_says_what_comes_here(browser: FlaskClient) -> None:
    assert "grouped here by themselves" in browser.get("/incidents").get_data(as_text=True)


def test_an_incident_is_listed_shown_and_handled(plane: Plane, browser: FlaskClient) -> None:
    for number in range(9):
        plane.violate(PAY._replace(port=number + 1), seen_ms=plane.now_ms - 5_000)
    look(plane)
    assert "1: scan" in browser.get("/incidents").get_data(as_text=True)
    page = browser.get("/incidents/1").get_data(as_text=True)
    for text in ("tries 9 places that it was never allowed", "default/frontend", "shop/pay:3", "9, of which 9 were denied"):
        assert text in page
    assert "Given to ann" in send(browser, "/incidents/1", "/incidents/1/assign", assignee="ann")
    assert "asked the team" in send(browser, "/incidents/1", "/incidents/1/note", text="asked the team")
    assert "Closed by owner (via console)" in send(browser, "/incidents/1", "/incidents/1/close", reason="a test")
    assert "1: scan" not in browser.get("/incidents").get_data(as_text=True)
    assert "1: scan" in browser.get("/incidents?all=true").get_data(as_text=True)
    assert "Taken up again: it was none" in send(browser, "/incidents/1", "/incidents/1/reopen", reason="it was none")


def test_what_is_more_than_is_listed_is_said(plane: Plane, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.violate(_CHARGE, seen_ms=plane.now_ms - 5_000)
    look(plane)
    assert "lists more" not in browser.get("/incidents").get_data(as_text=True)
    assert ">1 open</a>" in browser.get("/").get_data(as_text=True)
    monkeypatch.setattr(incidents, "LISTED", 1)
    monkeypatch.setattr(overview, "MAX_LISTED", 1)
    assert "The latest 1 to begin" in browser.get("/incidents").get_data(as_text=True)
    assert ">1 or more open</a>" in browser.get("/").get_data(as_text=True)


def test_an_incident_leads_to_its_violations(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(_CHARGE, seen_ms=plane.now_ms - 5_000)
    look(plane)
    page = browser.get("/incidents/1").get_data(as_text=True)
    link = re.search(r'<a href="([^"]+)">All of them in the log</a>', page)
    assert link is not None
    assert 'href="/blocked/1"' in browser.get(link[1].replace("&amp;", "&")).get_data(as_text=True)


def test_the_edge_of_a_violation_is_proposed(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(_CHARGE)
    page = send(browser, "/blocked/1", "/blocked/1/propose", reason="new checkout", method="POST", path="/charge")
    assert "asked for this edge: new checkout" in page
    (ask,) = plane.store.asks(9)
    assert (str(ask.rule.source), str(ask.service), ask.rule.http[0].path) == ("default/frontend", "shop/pay", "/charge")


def test_what_is_asked_for_a_caller_without_identity_stands_at_its_violation(plane: Plane, browser: FlaskClient) -> None:
    """A rule names addresses as a network, a violation the address alone."""
    plane.violate(_CHARGE._replace(source="ip:10.20.30.40"))
    page = send(browser, "/blocked/1", "/blocked/1/propose", reason="the old gateway", method="POST", path="/charge")
    assert "asked for this edge: the old gateway" in page


def test_the_edge_of_a_violation_is_allowed_for_a_time(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(_CHARGE)
    page = send(browser, "/blocked/1", "/blocked/1/allow", reason="orders wait", minutes="60", method="", path="")
    assert "orders wait" in page
    (grant,) = plane.store.grants(9, active=True)
    assert (grant.expires_ms - grant.created_ms, grant.rule.http, grant.actor) == (3_600_000, (), "owner (via console)")


def test_an_end_is_quarantined_and_released(plane: Plane, browser: FlaskClient) -> None:
    """From a violation and from an incident; what is cut off is let in again where it is looked at."""
    plane.violate(_CHARGE, seen_ms=plane.now_ms - 5_000)
    look(plane)
    for page in ("/blocked/1", "/incidents/1"):
        plane.now_ms += 1
        send(browser, page, "/services/default/frontend/mode", mode="quarantine", comment="it scans")
        modes = {str(name): plane.publisher.policy.mode(name) for name in plane.publisher.topology.services}
        assert (modes["default/frontend"], modes["shop/pay"]) == (Mode.QUARANTINE, Mode.LEARN)
        plane.now_ms += 1
        assert "Release default/frontend" in browser.get(page).get_data(as_text=True)
        send(browser, "/services/default/frontend", "/services/default/frontend/release", comment="it was a test")
        assert "Quarantine default/frontend" in browser.get(page).get_data(as_text=True)
    assert [event.action for event in plane.store.audit(4)] == ["service:mode"] * 4


def test_a_form_about_no_violation_is_told(sessions: Sessions, browser: FlaskClient) -> None:
    key = form_key(browser, "/")
    for action, fields in (("propose", {"reason": "x"}), ("allow", {"reason": "x"})):
        assert browser.post(f"/blocked/7/{action}", data={"form_key": key, **fields}).status_code == 404
