"""The chart rendered offline, its objects by kind and name, and what other projects' kinds look like."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart
from jsonschema import Draft202012Validator

CHART = Path(__file__).resolve().parents[2] / "helm" / "picket"
NAMESPACE = "picket-system"
#: The documented sets of values, by name; the first is none.
SETS: dict[str, dict[str, Any]] = {
    "default": {},
    **{file.stem: yaml.safe_load(file.read_text()) for file in sorted((CHART / "examples").glob("*.yaml"))},
}
#: Schemas of kinds that are no part of Kubernetes: tests/data/README.md says whose.
FOREIGN = Path(__file__).resolve().parents[1] / "data" / "crds"
Json = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What a release would be: its objects, those that Helm makes at some moment and takes away again, and its notes."""

    objects: list[Json]
    hooks: list[Json]
    notes: str

    @property
    def everything(self) -> list[Json]:
        """Objects and hooks."""
        return [*self.objects, *self.hooks]

    def of(self, kind: str) -> list[Json]:
        """All objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str = "picket") -> Json:
        """An object."""
        (found,) = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found

    @property
    def pod(self) -> Json:
        """The control plane's pod."""
        (found,) = self.of("StatefulSet")
        template: Json = found["spec"]["template"]
        return template


def is_hook(item: Json, *events: str) -> bool:
    """Whether Helm makes an object only at some moment; at one of these, if any are named."""
    found = item["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return bool(found) and (not events or not set(events).isdisjoint(found.split(",")))


def rendered(values: Json | None = None, name: str = "picket", namespace: str = NAMESPACE) -> Rendered:
    """The chart with these values."""
    with Chart.load(CHART) as chart:
        files = chart.render(values or {}, name=name, namespace=namespace)
    notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
    objects: list[Json] = []
    for path, text in files.items():
        if path.endswith(".yaml"):
            objects += [item for item in yaml.safe_load_all(text) if item]
    return Rendered([item for item in objects if not is_hook(item)], [item for item in objects if is_hook(item)], notes)


def validate(item: Json, version: str) -> None:
    """An object is one that an API server of this version takes, with no field that it does not know.

    Raises:
        kubernetes_validate.ValidationError, jsonschema.ValidationError: it is not.
    """
    if (FOREIGN / f"{item['kind'].lower()}.json").exists():
        Draft202012Validator(_strict(json.loads((FOREIGN / f"{item['kind'].lower()}.json").read_text()))).validate(item)
    else:
        kubernetes_validate.validate(item, version, strict=True)


def _strict(schema: Any) -> Any:
    """A schema that takes no field which it does not name, as an API server that is asked to validate strictly."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        made["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made
