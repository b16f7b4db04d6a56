"""Modes: shown, set for some services or all, and refused for what is not there."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName
from tests.harness.plane import PAY, Plane


def modes(api: FlaskClient) -> dict[str, tuple[str, bool]]:
    return {item["service"]: (item["mode"], item["is_default"]) for item in api.get("/api/v1/modes").get_json()["services"]}


def test_services_begin_with_the_default(api: FlaskClient) -> None:
    assert api.get("/api/v1/modes").get_json()["default_mode"] == "learn"
    assert set(modes(api).values()) == {("learn", True)}


def test_a_mode_is_set_for_services_once_each(plane: Plane, api: FlaskClient) -> None:
    answer = api.put("/api/v1/modes", json={"mode": "enforce", "services": ["shop/cart", "cart", "frontend"], "comment": "soon"})
    assert answer.get_json() == {"detail": "2 services in mode enforce"}
    assert modes(api)["shop/cart"] == ("enforce", False)
    assert plane.publisher.policy.mode(ServiceName("default", "frontend")) is Mode.ENFORCE
    events = api.get("/api/v1/audit").get_json()["events"]
    assert [event["subject"] for event in events] == ["default/frontend", "shop/cart"]
    assert events[0]["detail"] == {"mode": "enforce", "before": "learn", "comment": "soon"}


def test_all_means_what_the_topology_declares(plane: Plane, api: FlaskClient) -> None:
    """Not a host that only a rule names: its mode would outlive the rule."""
    plane.learn(PAY._replace(destination="external/example.org"))
    plane.review.refresh_proposal()
    plane.review.approve(1, "alice")
    assert "external/example.org" in modes(api)
    api.put("/api/v1/modes", json={"mode": "audit", "all": True})
    found = modes(api)
    assert found.pop("external/example.org") == ("learn", True)
    assert set(found.values()) == {("audit", False)}


def test_one_wrong_name_changes_nothing(plane: Plane, api: FlaskClient) -> None:
    answer = api.put("/api/v1/modes", json={"mode": "enforce", "services": ["cart", "nobody"]})
    assert (answer.status_code, answer.get_json()["where"]) == (404, "body.services[1]")
    answer = api.put("/api/v1/modes", json={"mode": "enforce", "services": ["redis"]})
    assert (answer.status_code, answer.get_json()["detail"]) == (404, "redis is in several namespaces: ops/redis, shop/redis")
    assert plane.store.modes() == {}


def test_it_is_either_services_or_all(plane: Plane, api: FlaskClient) -> None:
    for body in ({"mode": "learn"}, {"mode": "learn", "services": ["cart"], "all": True}):
        assert api.put("/api/v1/modes", json=body).status_code == 422
    assert api.put("/api/v1/modes", json={"mode": "panic", "all": True}).status_code == 400
    assert plane.store.modes() == {}
