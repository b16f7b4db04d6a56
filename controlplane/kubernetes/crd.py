"""The TrafficPolicy CRD, made from the shape that policy files have: a file that `picket policy apply` takes, kubectl takes too.

`python -m controlplane.kubernetes.crd` writes what the chart holds; a test holds the two together.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import yaml

from controlplane.policy.traffic_policy import API_VERSION, KIND
from controlplane.policy.traffic_shape import TRAFFIC_POLICY
from controlplane.policy.written.shape import json_schema

PLURAL = "trafficpolicies"
_COLUMNS = (
    ("Mode", "string", ".spec.mode"),
    ("Applied", "string", ".status.conditions[?(@.type=='Applied')].status"),
    ("Written", "string", ".status.conditions[?(@.type=='Written')].status"),
    ("In force", "string", ".status.conditions[?(@.type=='InForce')].status"),
    ("Revision", "integer", ".status.revision"),
    ("Age", "date", ".metadata.creationTimestamp"),
)
#: `policyobject.Status`, as the API server knows it.
_CONDITION: dict[str, Any] = {
    "type": "object",
    "required": ["type", "status", "reason", "lastTransitionTime"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
        "message": {"type": "string", "maxLength": 32768},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
}
_STATUS: dict[str, Any] = {
    "description": "What became of the object: written by Picket.",
    "type": "object",
    "properties": {
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "revision": {
            "description": "The policy revision that it was applied or written by.",
            "type": "integer",
            "format": "int64",
            "minimum": 0,
        },
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    group, _, version = API_VERSION.partition("/")
    schema = _structural(json_schema(TRAFFIC_POLICY))
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
    for key in ("apiVersion", "kind"):
        schema["properties"][key] = {"type": "string"}
    schema["properties"]["status"] = _STATUS
    schema["required"] = ["spec"]
    made: dict[str, Any] = msgspec.to_builtins(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{PLURAL}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "kind": KIND,
                    "listKind": f"{KIND}List",
                    "plural": PLURAL,
                    "singular": KIND.lower(),
                    "shortNames": ["tp"],
                },
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "additionalPrinterColumns": [
                            {"name": name, "type": kind, "jsonPath": path} for name, kind, path in _COLUMNS
                        ],
                        "schema": {"openAPIV3Schema": schema},
                    }
                ],
            },
        }
    )  # modes are texts there
    return made


def _structural(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema as the API server takes it: what is not named is pruned there, so it is not said again."""
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _structural(inner) for name, inner in value.items()}
        elif key == "items":
            made[key] = _structural(value)
        elif key == "additionalProperties":
            if isinstance(value, dict):
                made[key] = _structural(value)
        else:
            made[key] = value
    return made


def main() -> None:
    """Write the definition as YAML."""
    sys.stdout.write("# Written by python -m controlplane.kubernetes.crd: change controlplane/policy/traffic_shape.py instead.\n")
    yaml.safe_dump(definition(), sys.stdout, sort_keys=False, width=120)


if __name__ == "__main__":
    main()
