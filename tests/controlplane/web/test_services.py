"""Services: the list, a page of each, what becomes of a request, and the forms that set its mode."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controlplane.policy.roles import Role
from controlplane.policy.rules import Mode
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import GET_CART, PAY, REDIS, Plane

CART = ServiceName("shop", "cart")


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def send(browser: FlaskClient, path: str, **fields: str) -> TestResponse:
    return browser.post(path, data={"form_key": form_key(browser, "/"), **fields})


def approve(plane: Plane) -> None:
    plane.learn(GET_CART, REDIS)
    plane.review.refresh_proposal()
    plane.review.approve(1, "ann", "the shop needs it", rows=[1, 2])


def test_the_list_is_filtered_by_name_and_mode(plane: Plane, browser: FlaskClient) -> None:
    plane.review.modes.change([CART], Mode.AUDIT, "ann")
    assert "6 services" in shown(browser, "/services")
    assert "2 services" in shown(browser, "/services?text=redis")
    assert "1 service." in shown(browser, "/services?mode=audit&text=")
    assert "No service matches" in shown(browser, "/services?text=nobody")
    assert browser.get("/services?mode=off").status_code == 400


def test_a_page_tells_who_calls_who_may_and_why(plane: Plane, browser: FlaskClient) -> None:
    approve(plane)
    plane.violate(PAY._replace(destination="shop/cart"), count=3)
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    page = shown(browser, "/services/shop/cart")
    for text in (
        'href="/services/default/frontend"', "the shop needs it", "approved by ann", "shop/redis", "/shop.Cart/Get", "cart-0",
        "up to date", "whole days watched", "denied", "revision 1",
    ):  # fmt: skip
        assert text in page


def test_a_service_that_is_enforced_is_not_asked_whether_it_may_be(plane: Plane, browser: FlaskClient) -> None:
    approve(plane)
    plane.review.modes.change([CART], Mode.ENFORCE, "ann", "now", "the tests want it")
    page = shown(browser, "/services/shop/cart")
    assert "Less than the gate wants" in page
    assert "Ready to enforce?" not in page
    assert ", although whole days watched" in shown(browser, "/services?mode=enforce")


def test_a_service_that_nobody_may_call_says_so(browser: FlaskClient) -> None:
    page = shown(browser, "/services/shop/pay")
    assert "Nobody: no edge to it is approved" in page
    assert "picket token shop/pay" in page


@pytest.mark.parametrize(
    ("query", "verdict", "why"),
    [
        ("from=frontend&method=POST&path=/shop.Cart/Get", "allowed", "may call port 7070"),
        ("from=default/frontend&method=POST&path=/other", "denied", "may only POST /shop.Cart/Get"),
        ("from=shop/pay", "denied", "port 7070 is for default/frontend"),
        ("from=ip:10.9.9.9&port=1", "denied", "no rule opens port 1"),
    ],
)
def test_a_request_is_explained(plane: Plane, browser: FlaskClient, query: str, verdict: str, why: str) -> None:
    approve(plane)
    plane.review.modes.change([CART], Mode.ENFORCE, "ann")
    page = shown(browser, f"/services/shop/cart?{query}")
    assert f": {verdict}</strong>" in page
    assert why in page


@pytest.mark.parametrize("query", ["from=ip:x", "from=a/b/c/d", "from=shop/pay&method=x y", "from=shop/pay&path=nowhere"])
def test_a_request_that_cannot_be_is_refused_in_words(browser: FlaskClient, query: str) -> None:
    answer = browser.get(f"/services/shop/cart?{query}")
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert "What to do" in page
    assert "Who may call this" in page


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("policy.yaml", "kind: TrafficPolicy"), ("networkpolicy.yaml", "kind: NetworkPolicy"),
        ("cilium.yaml", "kind: CiliumNetworkPolicy"), ("istio.yaml", "kind: AuthorizationPolicy"),
    ],
)  # fmt: skip
def test_the_allow_list_comes_as_a_file(plane: Plane, browser: FlaskClient, file: str, text: str) -> None:
    approve(plane)
    page = shown(browser, f"/services/shop/cart/{file}")
    assert text in page
    assert "shop/redis" not in page


@pytest.mark.parametrize("path", ["/services/shop/none", "/services/shop/cart/word.yaml", "/services/shop/none/policy.yaml"])
def test_what_is_not_there_is_told(browser: FlaskClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_a_mode_is_set_with_who_did_it(plane: Plane, browser: FlaskClient) -> None:
    assert send(browser, "/services/shop/cart/mode", mode="audit", comment="to see").headers["Location"] == "/services/shop/cart"
    assert plane.publisher.policy.mode(CART) is Mode.AUDIT
    assert plane.store.audit(1)[0].actor == "owner (via console)"
    page = shown(browser, "/services/shop/cart")
    assert '<select name="mode" required><option value="">choose one</option>' in page  # none is set that nobody chose
    assert send(browser, "/services/shop/cart/mode", mode="off").status_code == 400


def test_a_responder_quarantines_and_sets_no_other_mode(plane: Plane, stranger: FlaskClient) -> None:
    sign_in(stranger, plane.token("rex", Role.RESPONDER))
    assert "<option>audit</option>" not in shown(stranger, "/services/shop/cart")
    assert send(stranger, "/services/shop/cart/mode", mode="audit").status_code == 403
    assert send(stranger, "/services/shop/cart/mode", mode="quarantine").status_code == 303
    assert plane.publisher.policy.mode(CART) is Mode.QUARANTINE
    page = shown(stranger, "/services/shop/cart")
    assert "Release shop/cart" in page
    assert "Set the mode" not in page


def test_a_lease_is_renewed(plane: Plane, browser: FlaskClient) -> None:
    """In place of the one before: what the form held of that one is sent again."""
    approve(plane)
    assert 'value="the shop needs it"' in shown(browser, "/services/shop/cart")
    edge = {"source": "default/frontend", "port": "7070"}
    wanted = {**edge, "reason": "checkout needs it", "owner": "team-cart", "ticket": "T-7", "days": "90"}
    assert send(browser, "/services/shop/cart/lease", **wanted).headers["Location"] == "/services/shop/cart"
    (held,) = [lease for lease in plane.store.leases() if lease.service == CART]
    assert (held.lease.reason, held.lease.owner, held.lease.ticket) == ("checkout needs it", "team-cart", "T-7")
    assert held.expires_ms == plane.now_ms + 90 * 86_400_000
    event = plane.store.audit(1)[0]
    assert (event.actor, event.action) == ("owner (via console)", "lease:renew")
    assert "team-cart" in shown(browser, "/services/shop/cart")


@pytest.mark.parametrize(
    ("fields", "status"), [({"reason": ""}, 400), ({"days": "0"}, 400), ({"source": "shop/pay"}, 404), ({"port": "1"}, 404)]
)
def test_a_lease_that_cannot_be_set_is_refused_in_words(
    plane: Plane, browser: FlaskClient, fields: dict[str, str], status: int
) -> None:
    approve(plane)
    before = plane.store.leases()
    wanted = {"source": "default/frontend", "port": "7070", "reason": "it is", **fields}
    answer = send(browser, "/services/shop/cart/lease", **wanted)
    assert answer.status_code == status
    assert "What to do" in answer.get_data(as_text=True)
    assert plane.store.leases() == before


def test_who_may_not_approve_sees_the_leases_and_renews_none(plane: Plane, stranger: FlaskClient) -> None:
    approve(plane)
    sign_in(stranger, plane.token("rex", Role.RESPONDER))
    assert "Set the lease" not in shown(stranger, "/services/shop/cart")
    wanted = {"source": "default/frontend", "port": "7070", "reason": "it is"}
    assert send(stranger, "/services/shop/cart/lease", **wanted).status_code == 403


def test_an_approver_of_other_namespaces_renews_none_here(plane: Plane, stranger: FlaskClient) -> None:
    approve(plane)
    sign_in(stranger, plane.token("amy", Role.APPROVER, "ops"))
    wanted = {"source": "default/frontend", "port": "7070", "reason": "it is"}
    assert send(stranger, "/services/shop/cart/lease", **wanted).status_code == 403


def test_a_rollout_begins_with_one_sidecar(plane: Plane, browser: FlaskClient) -> None:
    assert send(browser, "/services/shop/cart/rollout").status_code == 409
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    assert send(browser, "/services/shop/cart/rollout", share_percent="50").headers["Location"] == "/rollouts"
    assert send(browser, "/services/shop/cart/rollout", share_percent="0").status_code == 400
    assert "A rollout" in shown(browser, "/services/shop/cart")
