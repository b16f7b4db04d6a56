"""The map: what was learned, what is approved, and the mode that decides."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from flask.testing import FlaskClient

from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, Plane


def test_an_empty_mesh_shows_its_services(api: FlaskClient) -> None:
    found = api.get("/api/v1/map").get_json()
    assert (found["revision"], found["edges"], found["edge_count"]) == (0, [], 0)
    assert found["services"][0] == {
        "service": "default/frontend", "kind": "service", "mode": "learn", "revision": 0, "rules": 0,
        "ports": [{"port": 80, "protocol": "http"}],
    }  # fmt: skip


def test_a_learned_edge_is_summed_over_its_methods(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, count=2, seen_ms=300)
    plane.learn(ADD_CART, count=3, seen_ms=900)
    assert api.get("/api/v1/map").get_json()["edges"] == [
        {
            "source": "default/frontend", "destination": "shop/cart", "port": 7070, "protocol": "grpc",
            "http": [{"method": "POST", "path": "/shop.Cart/Add"}, {"method": "POST", "path": "/shop.Cart/Get"}],
            "count": 5, "first_seen_ms": 300, "last_seen_ms": 900, "approved": False, "learned": True, "mode": "learn",
        }
    ]  # fmt: skip


def test_an_approved_edge_that_was_never_used_is_shown_as_such(plane: Plane, api: FlaskClient) -> None:
    """An allow-list entry without traffic is what a reviewer looks for."""
    plane.learn(REDIS)
    assert plane.review.refresh_proposal() is not None
    plane.review.approve(1, "alice")
    with plane.store.transaction() as transaction:
        transaction._connection.exec_driver_sql("DELETE FROM edges")
    (edge,) = api.get("/api/v1/map").get_json()["edges"]
    assert (edge["approved"], edge["learned"], edge["count"], edge["last_seen_ms"]) == (True, False, 0, None)
    assert edge["protocol"] == "tcp"


def test_one_service_can_be_looked_at(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, REDIS)
    for name in ("shop/cart", "cart"):
        found = api.get("/api/v1/map", query_string={"service": name}).get_json()
        assert [(e["source"], e["destination"]) for e in found["edges"]] == [
            ("default/frontend", "shop/cart"),
            ("shop/cart", "shop/redis"),
        ]


def test_a_service_that_is_not_there_is_told(api: FlaskClient) -> None:
    answer = api.get("/api/v1/map?service=shop/crt")
    assert (answer.status_code, answer.get_json()["remedy"]) == (404, "did you mean shop/cart?")


def test_a_limit_cuts_and_says_of_how_many(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, REDIS)
    found = api.get("/api/v1/map?limit=2").get_json()
    assert (len(found["edges"]), found["edge_count"]) == (2, 3)


def test_the_mode_is_the_one_that_decides(plane: Plane, api: FlaskClient) -> None:
    """For a host that nobody declared that is the source's own."""
    plane.learn(PAY, PAY._replace(destination="external/example.org"))
    api.put("/api/v1/modes", json={"mode": "audit", "services": ["pay"]})
    api.put("/api/v1/modes", json={"mode": "enforce", "services": ["frontend"]})
    modes = {edge["destination"]: edge["mode"] for edge in api.get("/api/v1/map").get_json()["edges"]}
    assert modes == {"shop/pay": "audit", "external/example.org": "enforce"}


@pytest.mark.parametrize(
    ("form", "media_type", "start"),
    [
        ("dot", "text/vnd.graphviz", "digraph picket {"),
        ("mermaid", "text/vnd.mermaid", "flowchart LR"),
        ("graphml", "application/graphml+xml", "<graphml "),
        ("json", "application/json", "{"),
        ("svg", "image/svg+xml", "<svg "),
    ],
)
def test_the_map_can_be_drawn(plane: Plane, api: FlaskClient, form: str, media_type: str, start: str) -> None:
    plane.learn(GET_CART, PAY)
    found = api.get("/api/v1/map/picture", query_string={"format": form}).get_json()
    assert (found["revision"], found["format"], found["media_type"]) == (0, form, media_type)
    assert found["content"].startswith(start)
    assert {name in found["content"] for name in ("frontend", "cart", "pay")} == {True}
    if "xml" in media_type:
        ET.fromstring(found["content"])


def test_a_drawing_can_be_of_one_service_or_namespace(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, REDIS)
    of_cart = api.get("/api/v1/map/picture?format=dot&service=cart").get_json()["content"]
    assert "redis" in of_cart
    assert "pay" not in of_cart
    of_default = api.get("/api/v1/map/picture?format=dot&namespace=default").get_json()["content"]
    assert "pay" in of_default
    assert "redis" not in of_default
    assert "n0" not in api.get("/api/v1/map/picture?format=dot&namespace=nowhere").get_json()["content"]
    assert api.get("/api/v1/map/picture?format=png").status_code == 400
    assert api.get("/api/v1/map/picture?format=dot&service=nobody").status_code == 404
