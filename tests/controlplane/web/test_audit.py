"""The audit log's page."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from controlplane.web.audit import PAGE
from tests.harness.plane import Plane

_IDS = re.compile(r'<th scope="row" class="number">(\d+)</th>')
_OLDER = re.compile(r'rel="next" href="([^"]+)"')


def write(plane: Plane, actor: str, action: str, subject: str, detail: str = "{}") -> None:
    with plane.store.transaction() as transaction:
        transaction.add_audit(actor, action, subject, detail, plane.now_ms)


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_an_event_is_shown_with_its_detail_as_text(plane: Plane, browser: FlaskClient) -> None:
    write(
        plane,
        "ann",
        "service:mode",
        "shop/cart",
        '{"mode": "audit", "comment": "", "note": "<b>", "rows": [1, 2], "forced": false}',
    )
    page = shown(browser, "/audit")
    for text in (
        "ann",
        "service:mode",
        "shop/cart",
        "audit",
        "&lt;b&gt;",
        "1, 2",
        "</span> no",
        "picket audit verify",
        "console:sign-in",
    ):
        assert text in page
    for text in ("comment", "[1, 2]", "False"):
        assert text not in page


def test_events_come_page_by_page_and_each_once(plane: Plane, browser: FlaskClient) -> None:
    for number in range(2 * PAGE):
        write(plane, "ann", "service:mode", f"shop/s{number}")
    path, seen = "/audit?actor=ann", list[int]()
    while path:
        page = shown(browser, path)
        seen += map(int, _IDS.findall(page))
        older = _OLDER.search(page)
        path = older[1].replace("&amp;", "&") if older else ""
    wanted = [event.id for event in plane.store.audit(1000) if event.actor == "ann"]
    assert (seen, len(wanted)) == (wanted, 2 * PAGE)


def test_events_are_filtered(plane: Plane, browser: FlaskClient) -> None:
    write(plane, "ann", "service:mode", "shop/cart")
    write(plane, "bob", "proposal:approve", "7")
    assert "bob" not in shown(browser, "/audit?subject=cart")
    page = shown(browser, "/audit?action=proposal")
    assert "bob" in page
    assert "shop/cart</td>" not in page
    assert "Nothing matches" in shown(browser, "/audit?actor=nobody")
    assert browser.get("/audit?before=0").status_code == 400
