"""The published schemas are those of the code, and of a form that Kubernetes takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import given

import controlplane.policy
from controlplane.policy.schemas import SCHEMAS
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.traffic_shape import TRAFFIC_POLICY
from controlplane.policy.traffic_text import write_documents
from controlplane.policy.written.shape import json_schema
from tests.controlplane.policy.traffic import documents


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_the_shipped_schema_is_that_of_the_code(kind: str) -> None:
    shipped = files(controlplane.policy).joinpath(f"{kind}.schema.json").read_text()
    made = SCHEMAS[kind]()
    assert json.loads(shipped) == made, f"run: picket policy schema {kind} > controlplane/policy/{kind}.schema.json"
    assert (made["$schema"], made["$id"].rpartition("/")[2]) == (
        "https://json-schema.org/draft/2020-12/schema", f"{kind.lower()}.json",
    )  # fmt: skip


def _schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for below in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(below, dict):
            yield from _schemas(below)


def test_the_schema_of_a_policy_can_be_that_of_a_custom_resource() -> None:
    """Structural: every node has a type, conditions have none, properties and free keys do not meet."""
    for schema in _schemas(json_schema(TRAFFIC_POLICY, closed=False)):
        assert schema["type"] in {"object", "array", "string", "integer", "boolean"}
        assert not ("properties" in schema and "additionalProperties" in schema)
        for condition in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
            assert set(condition) == {"required"}
        assert "items" in schema or schema["type"] != "array"
        assert "maxLength" in schema or "enum" in schema or schema["type"] != "string"


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_every_key_says_what_it_is(kind: str) -> None:
    for schema in _schemas(SCHEMAS[kind]()):
        for name, key in schema.get("properties", {}).items():
            assert key.get("description") or name in {"apiVersion", "kind"}, name
        if "pattern" in schema:
            re.compile(schema["pattern"])


@given(documents())
def test_documents_fit_the_schema_that_editors_have(given: tuple[TrafficPolicy, ...]) -> None:
    schema = SCHEMAS["TrafficPolicy"]()
    for document in yaml.load_all(write_documents(given), Loader=yaml.BaseLoader):
        _check(schema, document)


def _check(schema: dict[str, Any], value: Any) -> None:
    """A small validator for the keywords that the schemas use; scalars are texts here."""
    known = {
        "$schema", "$id", "title", "description", "type", "required", "oneOf", "anyOf", "properties", "additionalProperties",
        "items", "minItems", "maxItems", "maxProperties", "minLength", "maxLength", "pattern", "enum", "minimum", "maximum",
    }  # fmt: skip
    assert set(schema) <= known
    if schema["type"] == "object":
        assert isinstance(value, dict)
        assert set(schema.get("required", ())) <= set(value)
        one, some = (sum(set(option["required"]) <= set(value) for option in schema.get(name, ())) for name in ("oneOf", "anyOf"))
        assert one == ("oneOf" in schema)
        assert some >= ("anyOf" in schema)
        for key, item in value.items():
            below = schema.get("properties", {}).get(key) or schema["additionalProperties"]
            assert below is not False, key
            _check(below, item)
    elif schema["type"] == "array":
        assert isinstance(value, list)
        assert schema["minItems"] <= len(value) <= schema["maxItems"]
        for item in value:
            _check(schema["items"], item)
    elif schema["type"] == "integer":
        assert schema["minimum"] <= int(value) <= schema["maximum"]
    elif "enum" in schema:
        assert value in schema["enum"]
    elif schema["type"] == "string":
        assert schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
        assert re.search(schema.get("pattern", ""), value)
