"""AdmissionReviews as an API server sends them, and what becomes of their pods when the answer's patch is applied."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonpatch

from controlplane.kubernetes.injection.decide import Injected, decide
from controlplane.kubernetes.injection.review import Json, PodCreation, read
from controlplane.kubernetes.injection.rules import Rules

DATA = Path(__file__).resolve().parents[3] / "data" / "admission"
RULES = Rules(
    image="registry.example.org/picket:0.1.0", own_namespace="picket-system",
    environment={
        "PICKET_SIDECAR_CONTROL_PLANE": "picket.picket-system.svc:7601",
        "PICKET_SIDECAR_ENROLLMENT": "picket.picket-system.svc:7602",
    },
    exclusions_allowed=frozenset({"batch"}),
)  # fmt: skip
#: The same for clusters before 1.29.
LEGACY = Rules(image=RULES.image, own_namespace="picket-system", environment=RULES.environment, native=False)


def creation(name: str) -> PodCreation:
    """A review from the test data."""
    found = read((DATA / f"{name}.json").read_bytes())
    assert isinstance(found, PodCreation), found
    return found


def patched(asked: PodCreation, rules: Rules = RULES) -> Json:
    """The pod as it is after the patch, by another implementation of RFC 6902."""
    decided = decide(asked, rules)
    assert isinstance(decided, Injected), decided
    pod: Json = jsonpatch.apply_patch(copy.deepcopy(asked.pod), list(decided.patch))
    return pod


def container(pod: Json, name: str) -> dict[str, Any]:
    """A container of either kind by its name."""
    found = [item for item in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]) if item["name"] == name]
    assert len(found) == 1, f"{len(found)} containers {name}"
    made: dict[str, Any] = found[0]
    return made


def variables(pod: Json) -> dict[str, Any]:
    """The sidecar's environment."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(pod, "picket-sidecar")["env"]}
