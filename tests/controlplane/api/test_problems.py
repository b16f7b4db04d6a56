"""Failures are problem documents (RFC 9457) that say what, where and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.api.reading import MAX_BODY_BYTES
from tests.harness.plane import Plane


def told(answer: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.get_json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:picket:problem:")
    assert problem["title"]
    assert problem["detail"]
    return problem


def test_an_address_that_is_not_there(api: FlaskClient) -> None:
    problem = told(api.get("/api/v1/maps"), 404)
    assert "/api/v1/maps" in problem["detail"]
    assert problem["remedy"]


def test_a_method_that_is_not_taken(api: FlaskClient) -> None:
    answer = api.delete("/api/v1/map", json={})
    told(answer, 405)
    assert "GET" in answer.headers["Allow"]


def test_a_body_that_is_too_large(api: FlaskClient) -> None:
    body = b'{"comment": "' + b"x" * MAX_BODY_BYTES + b'"}'
    problem = told(api.post("/api/v1/proposals/1/approve", data=body, content_type="application/json"), 413)
    assert str(MAX_BODY_BYTES) in problem["detail"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"rows": [1, 0]}', "body.rows[1]"),
        (b'{"rows": []}', "body.rows"),
        (b'{"rows": "1"}', "body.rows"),
        (b'{"rows": [1], "row": 2}', "body"),
        (b'{"comment": 7}', "body.comment"),
        (b"[" * 30_000, "body"),
    ],
)
def test_a_body_that_is_not_of_its_schema(api: FlaskClient, body: bytes, where: str) -> None:
    problem = told(api.post("/api/v1/proposals/1/approve", data=body, content_type="application/json"), 400)
    assert problem["where"] == where
    assert problem["remedy"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "query.limit"),
        ("limit=5001", "query.limit"),
        ("limit=ten", "query.limit"),
        ("limit=1&limit=2", "query.limit"),
        ("verdict=allowed", "query.verdict"),
        ("port=65536", "query.port"),
        ("after_id=-1", "query.after_id"),
        ("after_id=99999999999999999999", "query.after_id"),
        ("colour=red", "query"),
    ],
)
def test_a_query_that_is_not_of_its_schema(api: FlaskClient, query: str, where: str) -> None:
    problem = told(api.get(f"/api/v1/violations?{query}"), 400)
    assert problem["where"] == where


def test_an_unknown_field_is_named(api: FlaskClient) -> None:
    problem = told(api.get("/api/v1/violations?colour=red"), 400)
    assert "colour" in problem["detail"]


def test_a_database_that_fails_is_told_as_that(plane: Plane, api: FlaskClient) -> None:
    """The store's own words reach the caller; a traceback does not."""
    with plane.store.transaction() as transaction:
        transaction._connection.exec_driver_sql("DROP TABLE audit")
    problem = told(api.get("/api/v1/audit"), 503)
    assert "audit" in problem["detail"]


def test_a_stored_revision_that_does_not_read_is_told_as_that(plane: Plane, api: FlaskClient) -> None:
    with plane.store.transaction() as transaction:
        transaction.add_revision("mallory", "", "{}", 1)
    problem = told(api.get("/api/v1/policy/revisions/1"), 500)
    assert "revision 1" in problem["detail"]
