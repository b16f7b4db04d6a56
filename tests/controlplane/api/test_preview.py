"""What enforcement or an approval would do, over the API."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.harness.plane import GET_CART, PAY, REDIS, Plane

DAY_MS = 86_400_000


def test_a_preview_of_now_of_a_proposal_and_of_rows_of_it(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, REDIS)
    api.get("/api/v1/proposals")
    now = api.get("/api/v1/preview").get_json()
    assert (now["days"], now["edges"], len(now["denied"]), now["reach"]) == (7, 3, 3, [])
    whole = api.get("/api/v1/proposals/1/preview").get_json()
    assert (whole["denied"], whole["reach"][0]["text"]) == ([], "makes shop/redis reachable from 2 more workloads")
    part = api.get("/api/v1/proposals/1/preview?rows=1,3").get_json()
    assert [edge["destination"] for edge in part["denied"]] == ["shop/pay"]
    assert part["denied"][0]["mode"] == "learn"
    assert plane.store.active_revision() == 0


def test_only_edges_within_the_days_count(plane: Plane, api: FlaskClient) -> None:
    plane.now_ms = 10 * DAY_MS
    plane.learn(PAY, seen_ms=2 * DAY_MS)
    assert api.get("/api/v1/preview").get_json()["edges"] == 0
    assert api.get("/api/v1/preview?days=9").get_json()["edges"] == 1


def test_what_is_not_there_is_told(plane: Plane, api: FlaskClient) -> None:
    plane.learn(PAY)
    api.get("/api/v1/proposals")
    assert api.get("/api/v1/proposals/9/preview").status_code == 404
    assert api.get("/api/v1/proposals/1/preview?rows=2").status_code == 422
    for query in ("rows=0", "rows=1,", "rows=a", "days=0", "what=1"):
        assert api.get(f"/api/v1/proposals/1/preview?{query}").status_code == 400, query
