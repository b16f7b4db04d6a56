"""The API's description: every route is in it, and nothing else."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.api.operations import OPERATIONS
from controlplane.api.requests import ViolationsQuery
from tests.harness.plane import Plane


def test_every_endpoint_is_described_and_nothing_else_is(plane: Plane) -> None:
    assert set(OPERATIONS) == {rule.endpoint for rule in plane.app().url_map.iter_rules()}


def test_the_description_is_published_as_openapi(api: FlaskClient) -> None:
    described = api.get("/api/v1/openapi.json").get_json()
    assert described["openapi"].startswith("3.1.")
    operation = described["paths"]["/api/v1/violations"]["get"]
    assert [one["name"] for one in operation["parameters"]] == list(ViolationsQuery.__struct_fields__)
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Violations"}
    assert described["paths"]["/healthz"]["get"]["security"] == []


def test_every_operation_has_a_name_of_its_own(api: FlaskClient) -> None:
    paths = api.get("/api/v1/openapi.json").get_json()["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(names)) == len(names) == len(OPERATIONS)
