"""Health, readiness with reasons, and metrics."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.harness.plane import Plane


def test_a_healthy_control_plane_says_so(api: FlaskClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = api.get(path)
        assert (answer.status_code, answer.get_json()) == (200, {"status": "ok", "reasons": []})


def test_one_that_is_not_ready_says_why(plane: Plane, api: FlaskClient) -> None:
    """It lives all the same: nothing is won by restarting it."""
    plane.reasons = ("the database does not answer",)
    answer = api.get("/readyz")
    assert (answer.status_code, answer.get_json()["reasons"]) == (503, ["the database does not answer"])
    assert api.get("/healthz").status_code == 200


def test_metrics_are_prometheus_text(api: FlaskClient) -> None:
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b"picket_policy_revision" in answer.data
