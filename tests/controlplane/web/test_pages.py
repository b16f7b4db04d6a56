"""What the pages show."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import Client

from controlplane.flows.model import Verdict
from controlplane.store.interface import SidecarRow, ViolationFilter
from controlplane.web.app import create_console, together
from controlplane.web.blocked import PAGE
from controlplane.web.sessions import Sessions
from tests.harness.plane import GET_CART, PAY, REDIS, Plane

_NUMBERS = re.compile(r'href="/blocked/([0-9]+)"')
_OLDER = re.compile(r'rel="next" href="([^"]+)"')


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_the_overview_of_a_new_mesh_says_what_to_do(browser: FlaskClient) -> None:
    page = shown(browser, "/")
    assert "picket token WORKLOAD" in page
    assert "0 denied" in page


def test_the_overview_tells_what_waits_and_what_needs_a_look(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS)
    plane.violate(PAY, count=3)
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, nack_type="CDS", nack_message="no such cluster"))
    runs = SidecarRow("shop/pay", "pay-0", connected=True, sent_version="a", acked_version="a")
    plane.sidecar(replace(runs, certificate_not_after_ms=plane.now_ms))
    page = shown(browser, "/")
    for text in ("2 edges", "3 denied", "refused its CDS: no such cluster", "1 near expiry"):
        assert text in page


def test_the_log_is_shown_page_by_page_and_each_once(plane: Plane, browser: FlaskClient) -> None:
    """Also where many were last seen in the same millisecond."""
    for number in range(2 * PAGE + 1):
        plane.violate(PAY._replace(path=f"/{number}"), seen_ms=600 + number // 60)
    path, seen = "/blocked?source=frontend", list[int]()
    for _ in range(3):
        page = shown(browser, path)
        seen += map(int, _NUMBERS.findall(page))
        older = _OLDER.search(page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert path == ""
    wanted = [violation.id for violation in plane.store.violations(ViolationFilter(), 1000)]
    assert (seen, len(wanted)) == (wanted, 2 * PAGE + 1)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {1, 2, 3}), ("source=frontend", {1, 3}), ("destination=shop/redis", {2, 3}), ("verdict=would-deny", {2}),
        ("port=443", {1}), ("text=charge", {1}), ("hours=1", {2}), ("source=nobody", set()),
        ("text=&source=&destination=&port=&verdict=&hours=", {1, 2, 3}),
    ],
)  # fmt: skip
def test_the_log_is_filtered(plane: Plane, browser: FlaskClient, query: str, wanted: set[int]) -> None:
    plane.now_ms = 10 * 3_600_000
    plane.violate(PAY._replace(path="/charge"), seen_ms=100)
    plane.violate(REDIS, Verdict.WOULD_DENY, seen_ms=plane.now_ms - 1)
    plane.violate(REDIS._replace(source="default/frontend"), seen_ms=500)
    assert set(map(int, _NUMBERS.findall(shown(browser, f"/blocked?{query}")))) == wanted


@pytest.mark.parametrize(
    "query", ["port=0", "port=x", "verdict=allowed", "before=1", "before=1-0", "hours=-1", "new=1", "port=1&port=2"]
)
def test_a_filter_that_cannot_be_is_refused_in_words(browser: FlaskClient, query: str) -> None:
    answer = browser.get(f"/blocked?{query}")
    assert answer.status_code == 400
    assert "What to do" in answer.get_data(as_text=True)


def test_a_violation_has_a_page_and_what_came_from_outside_is_only_text(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(PAY._replace(path="/<script>alert(1)</script>"))
    page = shown(browser, "/blocked/1")
    assert "deny:shop/pay@r1" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("path", ["/blocked/1", "/blocked/0", "/blocked/x", "/nothing"])
def test_what_is_not_there_is_told(browser: FlaskClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_pages_and_api_share_one_address(plane: Plane, sessions: Sessions) -> None:
    client = Client(together(plane.app(), create_console(plane.services(), sessions)))
    assert client.get("/api/v1/map", headers={"Host": "localhost"}).status_code == 401
    assert client.get("/healthz").status_code == 200
    assert client.get("/", headers={"Host": "localhost"}).headers["Location"] == "/sign-in"
    assert client.get("/apish", headers={"Host": "localhost"}).headers["Location"] == "/sign-in"
