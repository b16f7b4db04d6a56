"""`/readiness`, and the gate as the API tells it."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.graph.gate import Gate
from controlplane.workflow.review import Review
from tests.harness.plane import GET_CART, PAY, Plane


def test_readiness_of_all_and_of_one(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY)
    found = api.get("/api/v1/readiness").get_json()
    assert [item["service"] for item in found["services"]] == ["shop/cart", "shop/pay"]
    assert found["whole"]["edges"] == 2
    one = api.get("/api/v1/readiness?service=cart").get_json()["services"]
    assert [(item["service"], item["ready"], item["edges"], item["denials_a_day"]) for item in one] == [
        ("shop/cart", False, 1, None)
    ]
    assert {lack["lack"] for lack in one[0]["blocking"]} >= {"days", "denials"}
    assert api.get("/api/v1/readiness?service=nobody").status_code == 404


def test_the_gate_says_what_is_missing_and_takes_a_reason(plane: Plane, api: FlaskClient) -> None:
    plane.review = Review(plane.store, plane.publisher, lambda: plane.now_ms, Gate())
    gated = plane.app().test_client()
    gated.environ_base.update(api.environ_base)
    body = {"mode": "enforce", "services": ["shop/cart"]}
    answer = gated.put("/api/v1/modes", json=body)
    assert answer.status_code == 409
    assert "shop/cart is not ready to be enforced" in answer.get_json()["detail"]
    assert "override" in answer.get_json()["remedy"]
    assert gated.put("/api/v1/modes", json=body | {"override": "tried for a month in staging"}).status_code == 200
    assert plane.store.audit(1)[0].detail.find("tried for a month in staging") > 0
