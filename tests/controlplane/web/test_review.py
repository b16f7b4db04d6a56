"""Review: what awaits a decision, what a choice would do, the decision, and the way back."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controlplane.flows.model import EdgeKey
from controlplane.policy.actors import claimed
from controlplane.policy.roles import Role
from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import Mode
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.web import check, review
from controlplane.web.review import PAGE_ROWS
from controlplane.workflow.agreement import Agreed, Agreement
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, TOKEN, Plane

_ROW = re.compile(r'name="rows" value="(\d+)"')
_CHOSEN = re.compile(r'name="rows" value="(\d+)" id="row-\d+" checked')


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path, follow_redirects=True)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def send(browser: FlaskClient, path: str, **fields: str) -> TestResponse:
    return browser.post(path, data={"form_key": form_key(browser, "/"), **fields})


def propose(plane: Plane, *edges: EdgeKey, seen_ms: int = 500) -> None:
    """Have edges used, and proposed as proposal 1."""
    plane.learn(*edges, seen_ms=seen_ms)
    plane.review.refresh_proposal()


def test_nothing_to_review_says_where_to_look(browser: FlaskClient) -> None:
    page = shown(browser, "/review")
    assert "Nothing waits for review" in page
    assert "The overview" in page


def test_a_proposal_is_shown_by_service_with_its_evidence(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, ADD_CART, REDIS, count=7)
    assert "Proposal 1 waits for you" in shown(browser, "/review")
    page = shown(browser, "/review/1")
    for text in ("<h2>shop/cart</h2>", "/shop.Cart/Add", "Evidence", "1 day", "See what these rows would do"):
        assert text in page


def test_an_edge_that_came_with_a_new_image_says_so(plane: Plane, browser: FlaskClient) -> None:
    old, new = "sha256:" + "0" * 64, "sha256:" + "1" * 64
    plane.learn(GET_CART, image=old, seen_ms=1_000)
    plane.learn(PAY, image=new, seen_ms=500_000)
    plane.review.refresh_proposal()
    page = shown(browser, "/review/1")
    assert f"<code>{old}</code> as its cluster or its sidecar says" in page
    assert page.count("none that ran before used it") == page.count(f"came with <code>{new[:19]}</code>") == 1


def test_odd_rows_are_on_top_and_never_chosen_by_themselves(plane: Plane, browser: FlaskClient) -> None:
    scan = [PAY._replace(destination=f"shop/s{number}") for number in range(12)]
    plane.learn(GET_CART._replace(source="shop/pay"), *scan)
    page = shown(browser, "/review/1")
    assert page.index("Odd</h2>") < page.index("shop/cart</h2>")
    assert _CHOSEN.findall(page) == ["13"]
    assert len(_ROW.findall(page)) == 13


def test_a_choice_has_a_short_address_and_tells_what_it_would_do(plane: Plane, browser: FlaskClient) -> None:
    plane.now_ms = 10_000
    propose(plane, GET_CART, PAY, REDIS, seen_ms=9_000)
    answer = browser.get("/review/1/check?rows=1&rows=2")
    assert answer.headers["Location"] == "/review/1/check?rows=1-2"
    page = shown(browser, "/review/1/check?rows=1-2")
    for text in ("What 2 of 3 rows would do", "1 edge</p>", "of 3 in use", "2 services", "Publish 2 rows"):
        assert text in page
    assert set(_CHOSEN.findall(shown(browser, "/review/1?rows=1-2"))) == {"1", "2"}


def test_a_reviewer_sees_whether_the_services_are_ready_to_be_enforced(plane: Plane, browser: FlaskClient) -> None:
    """By the same gate that their mode passes; a host outside the mesh has none."""
    plane.review.modes.change([ServiceName("shop", "pay")], Mode.ENFORCE, "ann")
    propose(plane, GET_CART, PAY, GET_CART._replace(destination="external/api.example.net", port=443))
    for path in ("/review/1", "/review/1/check?rows=1-3"):
        page = shown(browser, path)
        assert page.count("not yet: whole days watched: 0, the gate wants") == 1
        assert page.count("enforced<") == 1
    assert page.count("<li>") == 2


def test_a_replay_that_left_older_flows_out_says_so(plane: Plane, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    propose(plane, GET_CART, PAY)
    monkeypatch.setattr(check, "MAX_FLOWS", 2)
    assert "of 2 stored uses" in shown(browser, "/review/1/check?rows=1-2")
    monkeypatch.setattr(check, "MAX_FLOWS", 1)
    assert "of the newest 1 stored uses in the last 7 days; there are more" in shown(browser, "/review/1/check?rows=1-2")


def test_nothing_is_in_force_before_it_is_published(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, GET_CART, PAY)
    shown(browser, "/review/1/check?rows=1-2")
    assert plane.publisher.policy.revision == 0
    answer = send(browser, "/review/1/decide", rows="1-2", act="approve", comment="both are known", owner="shop", days="30")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/revisions/1")
    assert plane.publisher.policy.revision == 1
    event = plane.store.audit(1)[0]
    assert (event.actor, event.action) == ("owner (via console)", "proposal:approve")
    lease = plane.store.leases()[0]
    assert (lease.lease.owner, lease.lease.reason, lease.expires_ms) == ("shop", "both are known", plane.now_ms + 30 * 86_400_000)


def test_rows_are_published_in_stages(plane: Plane, browser: FlaskClient) -> None:
    """Until all sidecars have them, no revision with them is in force."""
    propose(plane, GET_CART)
    assert 'name="staged"' in shown(browser, "/review/1/check?rows=1")
    stages = {"staged": "true", "share_percent": "50", "hold_seconds": "90", "max_denials": "3"}
    refused = send(browser, "/review/1/decide", rows="1", act="approve", **stages)
    assert refused.status_code == 409
    assert "approve it whole" in refused.get_data(as_text=True)
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True))
    answer = send(browser, "/review/1/decide", rows="1", act="approve", **stages)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/rollouts")
    (rollout,) = plane.store.rollouts(10, running=True)
    assert (rollout.plan, rollout.first, rollout.revision) == (Plan(50, 90, 3), "cart-0", 1)
    assert plane.publisher.policy.revision == 0
    assert "revision 1" in shown(browser, "/rollouts")
    assert send(browser, "/review/1/decide", rows="1", act="approve", staged="true", share_percent="0").status_code == 400


def test_what_was_decided_stays_listed_however_much_was_learned_since(
    plane: Plane, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "LISTED", 1)
    propose(plane, GET_CART)
    send(browser, "/review/1/decide", rows="1", act="approve")
    for edge in (PAY, REDIS):
        propose(plane, edge)
    page = shown(browser, "/review")
    assert "Proposal 3 waits" in page
    assert 'href="/review/1"' in page
    assert "No proposal was approved" not in page


def test_some_rows_are_rejected_and_the_others_wait(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, GET_CART, PAY)
    answer = send(browser, "/review/1/decide", rows="1", act="reject", comment="nobody knows it")
    assert answer.headers["Location"] == "/review/1"
    page = shown(browser, "/review/1")
    assert "Rejected by owner (via console)" in page
    assert "nobody knows it" in page
    assert "Proposal 2 waits for you" in shown(browser, "/review")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"rows": "", "act": "approve"}, 422), ({"rows": "x", "act": "approve"}, 422), ({"rows": "9", "act": "approve"}, 422),
        ({"rows": "1", "act": "delete"}, 400), ({"rows": "1"}, 400), ({"rows": "1", "act": "approve", "days": "0"}, 400),
        ({"rows": "1", "act": "approve", "more": "1"}, 400),
    ],
)  # fmt: skip
def test_a_decision_that_cannot_be_is_refused_in_words(
    plane: Plane, browser: FlaskClient, fields: dict[str, str], status: int
) -> None:
    propose(plane, GET_CART)
    answer = send(browser, "/review/1/decide", **fields)
    assert answer.status_code == status
    assert "What to do" in answer.get_data(as_text=True)
    assert plane.publisher.policy.revision == 0


def test_comments_stand_at_the_edge(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, GET_CART, PAY)
    assert send(browser, "/review/1/rows/1", text="who is <b>this</b>?").headers["Location"] == "/review/1/rows/1"
    assert "who is &lt;b&gt;this&lt;/b&gt;?" in shown(browser, "/review/1/rows/1")
    assert "1 comment<" in shown(browser, "/review/1")
    assert send(browser, "/review/1/rows/1", text=" ").status_code == 422
    assert browser.get("/review/1/rows/3").status_code == 404


def test_an_edge_that_two_have_to_agree_to_waits_and_says_for_whom(plane: Plane, stranger: FlaskClient) -> None:
    """The owner by the console and by the token is one person; somebody else is the second."""
    plane.review.agreement = Agreement(plane.store, lambda: plane.now_ms, four_eyes=True)
    propose(plane, GET_CART)
    sign_in(stranger, TOKEN)
    assert send(stranger, "/review/1/decide", rows="1", act="approve").headers["Location"] == "/review/1"
    page = shown(stranger, "/review/1")
    assert "agreed" in page
    assert "waits for" in page
    assert isinstance(plane.review.approve(1, claimed("ann")), Agreed)
    stranger.delete_cookie("picket-session")
    sign_in(stranger, plane.token("bob", Role.APPROVER))
    assert send(stranger, "/review/1/decide", rows="1", act="approve", override_review="in a hurry").status_code == 403
    assert send(stranger, "/review/1/decide", rows="1", act="approve").headers["Location"] == "/revisions/1"


def test_a_second_decision_about_the_same_is_told(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, GET_CART)
    send(browser, "/review/1/decide", rows="1", act="approve")
    assert send(browser, "/review/1/decide", rows="1", act="approve").status_code == 409


@pytest.mark.parametrize("path", ["/review/9", "/review/0", "/review/9/check?rows=1", "/revisions/1", "/revisions/x"])
def test_what_is_not_there_is_told(browser: FlaskClient, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("rows", ["x", "0", "2-1", "1-999999", "1,,x"])
def test_an_address_that_names_no_rows_is_refused(plane: Plane, browser: FlaskClient, rows: str) -> None:
    propose(plane, GET_CART)
    assert browser.get(f"/review/1/check?rows={rows}").status_code == 400


def test_a_revision_tells_how_many_sidecars_have_it_and_leads_back(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, GET_CART)
    send(browser, "/review/1/decide", rows="1", act="approve")
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    plane.sidecar(SidecarRow("default/frontend", "web-0", connected=True, sent_version="b", acked_version="a"))
    page = shown(browser, "/revisions/1")
    for text in (
        "1 of 2",
        "1 on the way",
        "data-follow",
        "Roll back to the empty policy",
        "default/frontend → :7070",
        "No rule is in force then, as",
    ):
        assert text in page
    answer = send(browser, "/revisions/0/return", comment="it was too soon")
    assert answer.headers["Location"] == "/revisions/2"
    assert "not in force" in shown(browser, "/revisions/1")
    assert "removed" in shown(browser, "/revisions/2")
    assert send(browser, "/revisions/7/return").status_code == 404


def test_who_may_not_approve_sees_all_but_the_buttons(plane: Plane, stranger: FlaskClient) -> None:
    propose(plane, GET_CART)
    sign_in(stranger, plane.token("dev", Role.DEVELOPER))
    page = shown(stranger, "/review/1/check?rows=1")
    assert "ask for the role approver" in page
    assert "Publish" not in page


def test_a_large_proposal_comes_page_by_page(plane: Plane, browser: FlaskClient) -> None:
    propose(plane, *(PAY._replace(source=f"default/c{number}") for number in range(PAGE_ROWS + 1)))
    first, second = shown(browser, "/review/1"), shown(browser, "/review/1?page=2")
    rows = [int(row) for page in (first, second) for row in _ROW.findall(page)]
    assert sorted(rows) == list(range(1, PAGE_ROWS + 2))


def test_what_was_written_is_on_the_next_page(plane: Plane, browser: FlaskClient) -> None:
    """Whoever wrote it: a sidecar, somebody here, or another control plane on the same database. Nobody's clock moves."""

    def rows() -> int:
        found = re.search(r'href="/review/(\d+)"', shown(browser, "/review"))
        return len(_ROW.findall(shown(browser, f"/review/{found[1]}"))) if found else 0

    assert rows() == 0
    plane.learn(GET_CART)
    assert (rows(), rows()) == (1, 1)
    plane.learn(REDIS, PAY)
    assert rows() == 3
    newest = plane.review.refresh_proposal()
    assert newest is not None
    assert isinstance(plane.review.reject(newest.number, "ana", "", [1]), Done)
    assert rows() == 2
    publisher = Publisher(plane.store, plane.publisher.declared, Compiler(Trust("picket.test", b"bundle")), Mode.LEARN)
    other = Review(plane.store, publisher, lambda: plane.now_ms)
    proposal = other.refresh_proposal()
    assert proposal is not None
    assert isinstance(other.approve(proposal.number, "bob", rows=[1]), Published)
    plane.publisher.follow()
    assert rows() == 1
    assert isinstance(plane.review.rollback(0, "ana"), Published)
    assert rows() == 2
