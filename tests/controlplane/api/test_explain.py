"""`/explain`: what becomes of a request, as the console's page of a service says it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName
from tests.harness.plane import GET_CART, Plane

CART = ServiceName("shop", "cart")


@pytest.mark.parametrize(
    ("query", "end", "deny_id", "why"),
    [
        ("source=frontend&method=POST&path=/shop.Cart/Get", "destination", "", "a rule of shop/cart holds it"),
        ("source=frontend&method=POST&path=/other", "destination", "deny:shop/cart@r1", "may only POST /shop.Cart/Get"),
        ("source=shop/pay&port=7070", "source", "deny:shop/pay@r0/egress", "port 7070 is for default/frontend"),
        ("source=ip:10.9.9.9&port=1", "destination", "deny:shop/cart@r1", "no rule opens port 1"),
    ],
)
def test_a_request_is_explained(plane: Plane, api: FlaskClient, query: str, end: str, deny_id: str, why: str) -> None:
    plane.learn(GET_CART)
    plane.review.refresh_proposal()
    plane.review.approve(1, "ann")
    plane.review.modes.change([CART], Mode.ENFORCE, "ann")
    found = api.get(f"/api/v1/explain?destination=cart&{query}").get_json()
    assert (found["destination"], found["revision"], found["mode"]) == ("shop/cart", 1, "enforce")
    assert (found["verdict"], found["decided_by"], found["deny_id"]) == ("denied" if deny_id else "allowed", end, deny_id)
    assert (found["rule"] is None) == bool(deny_id)
    assert why in found["text"]


def test_in_learn_everything_passes_by_no_rule(api: FlaskClient) -> None:
    found = api.get("/api/v1/explain?destination=shop/cart&source=shop/pay").get_json()
    assert (found["verdict"], found["rule"], found["port"], found["mode"]) == ("allowed", None, 7070, "learn")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("source=pay", 400), ("destination=cart", 400), ("source=ip:x&destination=cart", 400),
        ("source=pay&destination=nobody", 404), ("source=pay&destination=cart&port=0", 400),
        ("source=pay&destination=cart&path=nowhere", 400),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_refused(api: FlaskClient, query: str, status: int) -> None:
    answer = api.get(f"/api/v1/explain?{query}")
    assert answer.status_code == status
    assert answer.get_json()["remedy"]
