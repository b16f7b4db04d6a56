"""Join tokens: for one workload of the topology, shown once."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.harness.plane import Plane


def test_a_token_comes_as_a_join_document(plane: Plane, api: FlaskClient) -> None:
    answer = api.post("/api/v1/tokens", json={"workload": "cart", "lifetime_seconds": 60})
    assert (answer.status_code, answer.get_json()["workload"]) == (201, "shop/cart")
    assert answer.headers["Cache-Control"] == "no-store"
    assert plane.tokens == [("shop/cart", 60, "alice (via token)")]


def test_a_token_needs_a_workload_in_the_mesh(plane: Plane, api: FlaskClient) -> None:
    assert api.post("/api/v1/tokens", json={"workload": "nobody"}).status_code == 404
    assert api.post("/api/v1/tokens", json={"workload": "outside/api.example.com"}).status_code == 422
    assert api.post("/api/v1/tokens", json={}).status_code == 400
    assert api.post("/api/v1/tokens", json={"workload": "cart", "lifetime_seconds": 10**7}).status_code == 400
    assert plane.tokens == []
