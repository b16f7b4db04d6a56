"""Violations: filtered, followed and counted."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from controlplane.api import exporting
from controlplane.flows.model import Verdict
from tests.harness.plane import PAY, REDIS, Plane

NO_MORE = {"cut": False, "next_cursor": None}


@pytest.fixture
def refused(plane: Plane) -> Plane:
    """Three violations, in the order 1, 2, 3 of their ids; the second was seen last."""
    plane.violate(PAY._replace(path="/charge"), seen_ms=100, count=2)
    plane.violate(REDIS._replace(source="ip:10.9.9.9"), Verdict.WOULD_DENY, seen_ms=900)
    plane.violate(REDIS._replace(source="default/frontend"), seen_ms=500)
    return plane


def ids(api: FlaskClient, query: str = "") -> list[int]:
    return [item["id"] for item in api.get(f"/api/v1/violations{query}").get_json()["violations"]]


def test_a_violation_says_who_called_what_and_why_not(refused: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/violations?text=charge").get_json()
    assert found == {
        "violations": [
            {
                "id": 1, "source": "default/frontend", "destination": "shop/pay", "port": 443, "protocol": "http", "method": "POST",
                "path": "/charge", "verdict": "denied", "deny_id": "deny:shop/pay@r1", "count": 2, "first_seen_ms": 100,
                "last_seen_ms": 100, "reporter": "shop/cart", "direction": "in", "host": "", "server_name": "", "peer_address": "",
                "reason": "", "probe": 0,
            }
        ],
        "last_id": 1, "cut": False, "next_cursor": None,
    }  # fmt: skip


def test_they_come_newest_first(refused: Plane, api: FlaskClient) -> None:
    assert ids(api) == [2, 3, 1]
    assert ids(api, "?limit=1") == [2]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("source=default/frontend", {1, 3}),
        ("source=frontend", {1, 3}),
        ("source=ip:10.9.9.9", {2}),
        ("destination=shop/redis", {2, 3}),
        ("destination=pay", {1}),
        ("destination=nobody", set()),
        ("verdict=would-deny", {2}),
        ("verdict=denied", {1, 3}),
        ("port=443", {1}),
        ("since_ms=500", {2, 3}),
        ("text=%25", set()),
        ("source=frontend&port=6379", {3}),
        ("q=from:frontend+port:6379", {3}),
        ("q=from:frontend&port=443", {1}),
        ("q=-verdict:denied", {2}),
    ],
)
def test_they_can_be_filtered_and_counted(refused: Plane, api: FlaskClient, query: str, wanted: set[int]) -> None:
    assert set(ids(api, f"?{query}")) == wanted
    count = sum(2 if number == 1 else 1 for number in wanted)
    assert api.get(f"/api/v1/violations/count?{query}").get_json() == {"count": count, "complete": True}


def test_following_shows_each_once_in_the_order_of_ids(refused: Plane, api: FlaskClient) -> None:
    """From the first: ids count from 1, and after 0 comes all there is."""
    seen, after = [], 0
    for _ in range(4):
        page = api.get(f"/api/v1/violations?after_id={after}&limit=2").get_json()
        seen += [item["id"] for item in page["violations"]]
        after = page["last_id"]
    assert (seen, after) == ([1, 2, 3], 3)
    refused.violate(PAY._replace(path="/new"))
    assert ids(api, f"?after_id={after}") == [4]


def test_nothing_to_follow_stays_where_it_was(api: FlaskClient) -> None:
    assert api.get("/api/v1/violations?after_id=7").get_json() == {"violations": [], "last_id": 7} | NO_MORE
    assert api.get("/api/v1/violations").get_json() == {"violations": [], "last_id": 0} | NO_MORE


def test_pages_go_on_where_the_one_before_ended(refused: Plane, api: FlaskClient) -> None:
    seen: list[int] = []
    cursor: str | None = ""
    for _ in range(3):
        page = api.get(f"/api/v1/violations?limit=1&cursor={cursor}").get_json()
        seen += [item["id"] for item in page["violations"]]
        cursor = page["next_cursor"]
    assert seen == [2, 3, 1]
    assert cursor is None


def test_a_line_that_does_not_read_is_a_problem_with_its_place(api: FlaskClient) -> None:
    problem = api.get("/api/v1/violations?q=from:a+port:x").get_json()
    assert (problem["status"], problem["where"], problem["detail"]) == (400, "query.q", "character 13: x is no port")


def test_attempts_are_counted_by_time(refused: Plane, api: FlaskClient) -> None:
    assert api.get("/api/v1/violations/histogram?q=verdict:denied").get_json() == {
        "width_ms": 1000, "complete": True, "bins": [{"begin_ms": 0, "denied": 3, "would_deny": 0}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "media_type", "count"),
    [("csv", "text/csv", 4), ("ndjson", "application/x-ndjson", 3), ("ocsf", "application/x-ndjson", 3)],
)
def test_they_can_be_taken_along_as_a_file(
    refused: Plane, api: FlaskClient, monkeypatch: pytest.MonkeyPatch, form: str, media_type: str, count: int
) -> None:
    """All pages of them, newest first."""
    monkeypatch.setattr(exporting, "_PAGE", 2)
    answer = api.get(f"/api/v1/violations/export?format={form}")
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert len(answer.get_data().splitlines()) == count
    assert "attachment" in answer.headers["Content-Disposition"]
    some = api.get("/api/v1/violations/export?format=ndjson&q=port:6379&limit=1").get_data(as_text=True)
    assert [json.loads(line)["id"] for line in some.splitlines()] == [2]


def test_only_a_few_files_are_written_at_once(refused: Plane, api: FlaskClient) -> None:
    """Who asks only for what it would be takes no place."""
    for _ in range(2 * exporting.MAX_OPEN):
        assert api.head("/api/v1/violations/export?format=csv").status_code == 200
    running = [api.get("/api/v1/violations/export?format=csv", buffered=False) for _ in range(exporting.MAX_OPEN)]
    assert api.get("/api/v1/violations/export?format=csv").status_code == 503
    for answer in running:
        answer.close()
    assert api.get("/api/v1/violations/export?format=csv").status_code == 200
