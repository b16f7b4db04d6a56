"""Batches of imported flows: bounds, and that each counts once."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.harness.plane import Plane

FLOW: dict[str, Any] = {
    "source": {"namespace": "default", "app": "frontend"}, "destination": {"namespace": "shop", "app": "cart"}, "port": 7070,
    "protocol": "http", "verdict": "allowed", "inbound": True, "at_ms": 700, "method": "GET", "path": "/a",
}  # fmt: skip
BATCH: dict[str, Any] = {"epoch": "a" * 32, "number": 1, "log": "hubble.json", "format": "hubble", "flows": [FLOW, FLOW]}


def test_a_batch_counts_once(plane: Plane, api: FlaskClient) -> None:
    assert api.post("/api/v1/learn/import", json=BATCH).get_json() == {"stored": True, "stale": 0}
    assert api.post("/api/v1/learn/import", json=BATCH).get_json() == {"stored": False, "stale": 0}
    (edge,) = plane.store.edges()
    assert (edge.key.source, edge.key.destination, edge.key.protocol, edge.count) == ("default/frontend", "shop/cart", "grpc", 2)
    assert (edge.first_seen_ms, edge.last_seen_ms) == (700, 700)
    assert api.post("/api/v1/learn/import", json=BATCH | {"number": 2}).get_json() == {"stored": True, "stale": 0}
    assert [event.action for event in plane.store.audit(9)] == ["learn:import"]


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"epoch": "x"}, "body.epoch"),
        ({"number": 0}, "body.number"),
        ({"flows": [FLOW | {"port": 0}]}, "body.flows[0].port"),
        ({"flows": [FLOW, FLOW | {"source": {}}]}, "body.flows[1]"),
        ({"flows": [FLOW | {"path": "/\x00"}]}, "body.flows[0]"),
        ({"flows": [FLOW | {"verdict": "maybe"}]}, "body.flows[0].verdict"),
        ({"more": 1}, "body"),
    ],
)
def test_a_batch_out_of_bounds_is_refused_whole(plane: Plane, api: FlaskClient, changed: dict[str, Any], where: str) -> None:
    answer = api.post("/api/v1/learn/import", json=BATCH | changed)
    assert answer.status_code in {400, 422}
    assert answer.get_json()["where"] == where
    assert plane.store.edges() == []


def test_a_large_batch_is_taken_and_a_huge_one_is_not(plane: Plane, api: FlaskClient) -> None:
    assert api.post("/api/v1/learn/import", json=BATCH | {"flows": [FLOW] * 5_000}).status_code == 200
    huge = api.post("/api/v1/learn/import", json=BATCH | {"number": 2, "flows": [FLOW | {"path": "/" + "x" * 1000}] * 9_000})
    assert huge.status_code == 413
