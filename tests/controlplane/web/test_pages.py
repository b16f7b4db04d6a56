"""What the pages show."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import Client

from controlplane.flows.model import Verdict
from controlplane.policy.objects import Standing, State
from controlplane.policy.proofs import Proof, Status, Target
from controlplane.store.stored import SidecarRow, ViolationFilter
from controlplane.topology.model import ServiceName
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
    for text in ("2 edges", "3 denied", "refused its CDS: no such cluster", "1 certificate near expiry"):
        assert text in page


def test_policy_objects_that_differ_are_told_on_the_overview_and_the_services_page(plane: Plane, browser: FlaskClient) -> None:
    assert "TrafficPolicy objects that need a look" not in shown(browser, "/")
    plane.objects = (
        Standing("shop/cart", "shop/cart", own=True, state=State.CONFLICT, revision=3, reason="kubectl-edit changed it: delete it"),
        Standing("shop/pay", "shop/pay", own=False, state=State.IN_FORCE, revision=2, reason=""),
    )
    for page in (shown(browser, "/"), shown(browser, "/services/shop/cart")):
        for text in ("kubectl-edit changed it: delete it", ">conflict<"):
            assert text in page
    assert "1 of the cluster&#39;s 2 objects is not" in shown(browser, "/").replace("'", "&#39;")
    assert "not what is in force" not in shown(browser, "/services/shop/pay")


def test_the_overview_is_loud_where_enforcement_is_not_proved(plane: Plane, browser: FlaskClient) -> None:
    assert "Nothing was tried yet" in shown(browser, "/")
    cart = ServiceName("shop", "cart")
    for port, status, reason in ((7070, Status.FAILED, "let through: HTTP 200"), (7071, Status.PROVEN, "")):
        with plane.store.transaction() as transaction:
            asked = transaction.add_proof(Proof(0, Target(cart, port, "10.0.0.2"), 0, "picket", 5))
            assert asked is not None
            transaction.move_proof(asked, replace(asked, status=status, reason=reason, ended_ms=9))
    page = shown(browser, "/")
    for text in ("1 failed:", "shop/cart:7070 at 10.0.0.2", "let through: HTTP 200", "1 proven"):
        assert text in page


def test_the_log_is_shown_page_by_page_and_each_once(plane: Plane, browser: FlaskClient) -> None:
    """Also where many were last seen in the same millisecond."""
    for number in range(2 * PAGE + 1):
        plane.violate(PAY._replace(path=f"/{number}"), seen_ms=600 + number // 60)
    path, seen = "/blocked?q=from:frontend", list[int]()
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
        ("", {1, 2, 3}), ("q=from:frontend", {1, 3}), ("q=to:shop/redis", {2, 3}), ("q=verdict:would-deny", {2}),
        ("q=port:443", {1}), ("q=charge", {1}), ("q=since:1h", {2}), ("q=from:nobody", set()),
        ("q=&before=", {1, 2, 3}), ("q=path:/ch*+to:pay", {1}),
    ],
)  # fmt: skip
def test_the_log_is_filtered(plane: Plane, browser: FlaskClient, query: str, wanted: set[int]) -> None:
    plane.now_ms = 10 * 3_600_000
    plane.violate(PAY._replace(path="/charge"), seen_ms=100)
    plane.violate(REDIS, Verdict.WOULD_DENY, seen_ms=plane.now_ms - 1)
    plane.violate(REDIS._replace(source="default/frontend"), seen_ms=500)
    assert set(map(int, _NUMBERS.findall(shown(browser, f"/blocked?{query}")))) == wanted


@pytest.mark.parametrize("query", ["before=1", "before=x-0", "port=1", "q=a&q=b"])
def test_an_address_that_cannot_be_is_refused_in_words(browser: FlaskClient, query: str) -> None:
    answer = browser.get(f"/blocked?{query}")
    assert answer.status_code == 400
    assert "What to do" in answer.get_data(as_text=True)


def test_a_line_that_does_not_read_is_shown_again_with_its_mistake(browser: FlaskClient) -> None:
    answer = browser.get("/blocked?q=from:cart+port:x")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 400
    assert 'value="from:cart port:x"' in page
    assert "character 16: x is no port" in page


def test_attempts_by_time_are_drawn_with_a_table_beside(plane: Plane, browser: FlaskClient) -> None:
    """Each bar leads to what it counts."""
    plane.violate(PAY, count=3, seen_ms=60_000)
    plane.violate(PAY, Verdict.WOULD_DENY, count=2, seen_ms=600_000)
    page = shown(browser, "/blocked")
    assert "<strong>5</strong> attempts match." in page
    bar = re.search(r'<a href="([^"]+)" aria-label="1970-01-01 00:01:00 UTC: 3 denied, 0 would be denied"', page)
    assert bar is not None
    assert '<td class="number">3</td><td class="number">0</td>' in page
    assert set(map(int, _NUMBERS.findall(shown(browser, bar[1].replace("&amp;", "&"))))) == {1}


def test_a_query_is_taken_along_as_a_file(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(PAY)
    plane.violate(REDIS)
    link = re.search(r'href="([^"]+)">CSV</a>', shown(browser, "/blocked?q=from:frontend"))
    assert link is not None
    assert len(shown(browser, link[1].replace("&amp;", "&")).splitlines()) == 2


def test_a_violation_has_a_page_and_what_came_from_outside_is_only_text(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(PAY._replace(path="/<script>alert(1)</script>"))
    page = shown(browser, "/blocked/1")
    assert "deny:shop/pay@r1" in page
    assert "no rule holds it" in page
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
