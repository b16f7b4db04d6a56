"""The chart rendered offline, and its objects by kind and name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).resolve().parents[2] / "helm" / "picket"
NAMESPACE = "picket-system"
#: The documented sets of values, by name; the first is none.
SETS: dict[str, dict[str, Any]] = {
    "default": {},
    **{file.stem: yaml.safe_load(file.read_text()) for file in sorted((CHART / "examples").glob("*.yaml"))},
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What a release would be."""

    objects: list[Json]
    notes: str

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
        template: Json = self.one("StatefulSet")["spec"]["template"]
        return template


def rendered(values: Json | None = None, name: str = "picket") -> Rendered:
    """The chart with these values."""
    with Chart.load(CHART) as chart:
        files = chart.render(values or {}, name=name, namespace=NAMESPACE)
    notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
    objects: list[Json] = []
    for path, text in files.items():
        if path.endswith(".yaml"):
            objects += [item for item in yaml.safe_load_all(text) if item]
    return Rendered(objects, notes)
