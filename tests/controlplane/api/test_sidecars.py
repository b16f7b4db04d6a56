"""Sidecars: their state, and what they are told."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from controlplane.store.stored import SidecarRow
from controlplane.topology.unmeshed import Gaps, Unmeshed
from tests.harness.plane import Plane

# envoy-data-plane does what pydantic has deprecated, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")


def only(api: FlaskClient) -> dict[str, object]:
    """The only sidecar."""
    (found,) = api.get("/api/v1/sidecars").get_json()["sidecars"]
    return dict(found)


def test_a_sidecar_tells_all_that_is_known_of_it(plane: Plane, api: FlaskClient) -> None:
    row = SidecarRow(
        "shop/cart", "cart-0", True, 100, "v2", "v2", 7, agent_version="0.1", envoy_version="1.40", capture="redirect",
        certificate_not_after_ms=9,
    )  # fmt: skip
    plane.sidecar(row)
    assert only(api) == {
        "workload": "shop/cart", "instance": "cart-0", "state": "ack", "connected": True, "connected_ms": 100, "revision": 7,
        "sent_version": "v2", "acked_version": "v2", "nack": None, "last_report_ms": None, "blind_since_ms": 100, "lost": 0,
        "agent_version": "0.1", "envoy_version": "1.40", "capture": "redirect", "certificate_not_after_ms": 9,
        "image_digest": "", "rollout": None,
    }  # fmt: skip
    assert api.get("/api/v1/sidecars").get_json()["revision"] == 0


def test_what_should_have_a_sidecar_and_has_none_is_told_with_the_reason(plane: Plane, api: FlaskClient) -> None:
    assert api.get("/api/v1/sidecars/missing").get_json() == {"replicas": [], "notes": []}
    plane.gaps = Gaps(
        (Unmeshed("shop", "cart-1", "Deployment/cart", "it was there before", "shop/cart"),), ("shop/default: shared",)
    )
    assert api.get("/api/v1/sidecars/missing").get_json() == {
        "replicas": [
            {
                "namespace": "shop",
                "replica": "cart-1",
                "owner": "Deployment/cart",
                "reason": "it was there before",
                "workload": "shop/cart",
            }
        ],
        "notes": ["shop/default: shared"],
    }


def test_reports_and_what_was_lost_of_them_are_told(plane: Plane, api: FlaskClient) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", True))
    with plane.store.transaction() as transaction:
        transaction.record_batch("shop/cart", "cart-0", "b" * 32, 1, [], 5, 400)
    found = only(api)
    assert (found["last_report_ms"], found["blind_since_ms"], found["lost"]) == (400, 400, 5)


def test_the_state_says_what_it_runs(plane: Plane, api: FlaskClient) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", True, sent_version="v2", acked_version="v1"))
    assert only(api)["state"] == "pending"
    refused = SidecarRow("shop/cart", "cart-0", True, 1, "v2", "v1", nack_type="LDS", nack_message="bad listener", nack_ms=5)
    plane.sidecar(refused)
    assert only(api)["state"] == "nack"
    assert only(api)["nack"] == {"type": "LDS", "message": "bad listener", "at_ms": 5}
    plane.sidecar(SidecarRow("shop/cart", "cart-0", False, 1, "v2", "v2"))
    assert only(api)["state"] == "away"
    plane.sidecar(SidecarRow("shop/cart", "cart-0", True))
    assert only(api)["state"] == "pending"


def test_the_configuration_is_shown_decoded(plane: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/sidecars/shop/cart/config").get_json()
    snapshot = plane.publisher.snapshot(plane.publisher.topology.services[("shop", "cart")].workload)  # type: ignore[index]  # a ServiceName is a tuple
    assert snapshot is not None
    assert (found["workload"], found["revision"], found["version"]) == ("shop/cart", 0, snapshot.version)
    kinds = [resource["type"] for resource in found["resources"]]
    assert {"CDS", "LDS", "ECDS", "SDS"} <= set(kinds)
    listener = next(r for r in found["resources"] if r["type"] == "LDS")
    assert listener["content"]["@type"] == "type.googleapis.com/envoy.config.listener.v3.Listener"
    assert listener["content"]["name"] == listener["name"]


def test_one_type_of_the_configuration_can_be_asked_for(api: FlaskClient) -> None:
    found = api.get("/api/v1/sidecars/cart/config?type=SDS").get_json()["resources"]
    assert {resource["type"] for resource in found} == {"SDS"}
    assert api.get("/api/v1/sidecars/cart/config?type=XDS").status_code == 400


def test_what_has_no_sidecar_has_no_configuration(api: FlaskClient) -> None:
    for name in ("nobody", "shop/nobody", "a/b/c", "outside/api.example.com"):
        assert api.get(f"/api/v1/sidecars/{name}/config").status_code == 404
