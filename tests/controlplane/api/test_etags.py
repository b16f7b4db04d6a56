"""Whoever polls is told that nothing changed, and what changed."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.harness.plane import GET_CART, PAY, Plane


@pytest.mark.parametrize("path", ["/api/v1/map", "/api/v1/violations", "/api/v1/proposals", "/api/v1/sidecars"])
def test_an_answer_that_the_caller_has_is_not_sent_again(api: FlaskClient, path: str) -> None:
    first = api.get(path)
    again = api.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert api.get(path, headers={"If-None-Match": '"other"'}).data == first.data


def test_an_answer_that_changed_is_sent(plane: Plane, api: FlaskClient) -> None:
    tags = {path: api.get(path).headers["ETag"] for path in ("/api/v1/map", "/api/v1/violations", "/api/v1/proposals")}
    plane.learn(GET_CART)
    plane.violate(PAY)
    for path, tag in tags.items():
        assert api.get(path, headers={"If-None-Match": tag}).status_code == 200, path


def test_writes_and_failures_have_no_tag(api: FlaskClient) -> None:
    assert "ETag" not in api.put("/api/v1/modes", json={"mode": "audit", "services": ["cart"]}).headers
    assert "ETag" not in api.get("/api/v1/proposals/9").headers
