"""What an export is: manifests, and what they leave unsaid. Values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.policy.rules import Rule
from controlplane.topology.model import ServiceName

Manifest = Mapping[str, Any]


class Effect(enum.StrEnum):
    """What it means for traffic that something is left unsaid."""

    WIDER = "wider"  # the target lets pass what the policy does not
    NARROWER = "narrower"  # the target drops what the policy lets pass
    SILENT = "silent"  # the target decides the same, and does not report it
    ASSUMED = "assumed"  # the target decides the same where the assumption holds


@dataclass(frozen=True, slots=True)
class Unsaid:
    """Something that a target cannot say. ``service`` and ``rule`` are ``None`` when it is about everything."""

    effect: Effect
    why: str
    service: ServiceName | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """Manifests in a stable order, and what they leave unsaid."""

    manifests: tuple[Manifest, ...]
    unsaid: tuple[Unsaid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How workloads are called where the export goes.

    ``label`` is the pod label that holds a workload's name, ``trust_domain`` that of the target's identities, ``cluster_domain``
    the suffix of its service names, ``root_namespace`` where policies count for the whole mesh.
    """

    label: str = "app"
    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
