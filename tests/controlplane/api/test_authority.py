"""The authority over the API: what is trusted, what comes next, and steps that people take."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from controlplane.store.stored import SidecarRow
from tests.harness.plane import Plane

DAY_MS = 86_400_000


def rotate(api: FlaskClient, **body: object) -> tuple[int, dict[str, Any]]:
    answer = api.post("/api/v1/authority/rotate", json=body)
    return answer.status_code, answer.get_json()


def test_it_says_what_is_trusted_and_when_it_begins_by_itself(plane: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/authority").get_json()
    (root,) = found["roots"]
    assert root["state"] == "active"
    assert len(root["id"]) == 40
    assert root["not_after_ms"] == plane.now_ms + 3650 * DAY_MS
    assert (found["rotating"], found["next_step"], found["next_ms"]) == (False, "prepare", plane.now_ms + 3560 * DAY_MS)


def test_a_rotation_by_hand_is_seen_and_told(plane: Plane, api: FlaskClient) -> None:
    status, begun = rotate(api, reason="a laptop was lost")
    assert status == 200
    assert (begun["rotating"], begun["next_step"]) == (True, "activate")
    assert [root["state"] for root in begun["roots"]] == ["active", "prepared"]
    status, active = rotate(api, step="activate")
    assert [root["state"] for root in active["roots"]] == ["active", "old"]
    assert active["roots"][0]["id"] == begun["roots"][1]["id"]
    assert active["next_ms"] == active["roots"][1]["signed_until_ms"] > plane.now_ms
    status, done = rotate(api, step="retire")
    assert (status, [root["id"] for root in done["roots"]], done["rotating"]) == (200, [begun["roots"][1]["id"]], False)
    events = plane.store.audit(3)
    assert [event.action for event in events] == ["authority:retire", "authority:activate", "authority:prepare"]
    assert "a laptop was lost" in events[-1].detail


def test_a_step_that_would_cut_a_sidecar_off_is_refused_unless_it_has_to_be(plane: Plane, api: FlaskClient) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, bundle="of before"))
    rotate(api)
    found = api.get("/api/v1/authority").get_json()
    assert (found["outdated"], found["connected"], found["late"]) == (1, 1, ["shop/cart cart-0"])
    assert "lack the new root" in found["waits_for"]
    status, problem = rotate(api, step="activate")
    assert (status, "lack the new root" in problem["detail"]) == (409, True)
    assert rotate(api, step="activate", now=True)[0] == 422
    assert rotate(api, step="activate", now=True, reason="its key was stolen")[0] == 200


def test_what_is_no_step_is_told(api: FlaskClient) -> None:
    assert rotate(api, step="destroy")[0] in {400, 422}
    assert rotate(api, step="retire")[0] == 409
    assert rotate(api, reason="x" * 501)[0] in {400, 422}
