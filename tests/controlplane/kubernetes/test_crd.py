"""The TrafficPolicy CRD: made from the shape of policy files, structural, and true to what is really written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from controlplane.kubernetes import crd
from controlplane.kubernetes.policyobject import Condition, Status
from controlplane.policy.traffic_documents import read_documents

ROOT = Path(__file__).resolve().parents[3]
SCHEMA: dict[str, Any] = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
EXAMPLES = sorted((ROOT / "helm" / "picket" / "examples" / "policies").glob("*.yaml"))


def test_the_chart_has_the_one_that_the_code_makes() -> None:
    """Written anew by `python -m controlplane.kubernetes.crd > helm/picket/files/trafficpolicies.yaml`."""
    written = io.StringIO()
    with redirect_stdout(written):
        crd.main()
    assert (ROOT / "helm" / "picket" / "files" / "trafficpolicies.yaml").read_text() == written.getvalue()


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all within."""
    yield path, schema
    for key, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas(schema[key], f"{path}[{key}]")


def test_the_schema_is_structural() -> None:
    """A type everywhere, nothing that the API server does not know, and alternatives that only ask for keys."""
    known = {
        "type", "properties", "items", "required", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum",
        "maximum", "description", "format", "maxProperties", "additionalProperties", "oneOf", "anyOf", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    }  # fmt: skip
    for path, schema in schemas(SCHEMA):
        assert "type" in schema, path
        assert set(schema) <= known, path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        for alternative in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
            assert set(alternative) == {"required"}, path
        if schema["type"] == "array":
            assert "items" in schema, path
    assert SCHEMA["properties"]["metadata"] == {"type": "object"}


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_its_examples_are_valid(file: Path) -> None:
    """Those that the chart shows; and they say what files of theirs would."""
    assert read_documents(file.read_bytes(), file.name).findings == ()
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "spec", [{"mode": "sometimes"}, {"rules": [{"ports": [1]}]}, {"rules": [{"from": [{}], "ports": [1]}]}, {"rules": {}}]
)
def test_what_is_no_policy_is_refused(spec: object) -> None:
    """Already by the API server."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"metadata": {"name": "x"}, "spec": spec}, SCHEMA, jsonschema.Draft202012Validator)


def test_the_status_that_is_written_is_in_the_schema() -> None:
    """Fields that it does not name would be pruned."""
    condition = Condition("Applied", "True", "Published", "", 1, "2026-01-02T03:04:05Z")
    status = msgspec.json.decode(msgspec.json.encode(Status(1, 2, (condition,))))
    told = SCHEMA["properties"]["status"]
    jsonschema.validate(status, told)
    assert set(status) == set(told["properties"])
    assert set(status["conditions"][0]) == set(told["properties"]["conditions"]["items"]["properties"])
