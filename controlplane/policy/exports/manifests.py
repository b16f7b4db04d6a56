"""How exported manifests are called and written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controlplane.policy.exports.model import Effect, Export
from controlplane.policy.findings import Place
from controlplane.policy.written.comments import Annotated, Part
from controlplane.policy.written.tree import Kind, Scalar
from controlplane.policy.written.writer import write
from controlplane.topology.model import ServiceName

_NOWHERE = Place("")


def named(name: ServiceName) -> str:
    """The name of a service's manifest, within its namespace."""
    safe = re.sub(r"[^a-z0-9.-]+", "-", name.name.lower()).strip("-.")
    return f"picket-{safe or 'unnamed'}"[:230].rstrip("-.")


def metadata(name: str, namespace: str) -> dict[str, Any]:
    """An object's metadata; the label says who made it."""
    return {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "picket"}}


def write_export(export: Export, revision: int, target: str) -> str:
    """The manifests as one YAML file, headed by what they leave unsaid."""
    head = [f"# {target}, exported by picket from policy revision {revision}."]
    if export.unsaid:
        head.append("# Where it differs from the policy (wider: lets more pass, narrower: drops more, assumed: unless this holds):")
        head += [f"# - {line}" for line in unsaid_lines(export)]
    documents = [_part(manifest) for manifest in export.manifests]
    if documents:
        documents[0].above = head
    return write(Annotated(documents, [] if documents else head))


def unsaid_lines(export: Export) -> list[str]:
    """What is left unsaid, one line for all the rules of a port of which the same is to be said."""
    alike: dict[tuple[Effect, str, ServiceName | None, int | None], list[str]] = {}
    for unsaid in export.unsaid:
        sources = alike.setdefault((unsaid.effect, unsaid.why, unsaid.service, unsaid.rule.port if unsaid.rule else None), [])
        if unsaid.rule is not None:
            sources.append(str(unsaid.rule.source))
    lines = []
    for (effect, why, service, port), sources in alike.items():
        about = f"{service}: " if service is not None else ""
        lines.append(f"{effect}: {', '.join(sources)} -> {service}:{port}: {why}" if sources else f"{effect}: {about}{why}")
    return lines


def _part(value: Any, key: Scalar | None = None) -> Part:
    if isinstance(value, Mapping):
        return Part(key, [_part(item, Scalar(name, Kind.TEXT, _NOWHERE)) for name, item in value.items()])
    if isinstance(value, (list, tuple)):
        return Part(key, [_part(item) for item in value], is_list=True)
    if isinstance(value, bool):
        return Part(key, Scalar("true" if value else "false", Kind.BOOLEAN, _NOWHERE))
    if isinstance(value, int):
        return Part(key, Scalar(str(value), Kind.INTEGER, _NOWHERE))
    return Part(key, Scalar(str(value), Kind.TEXT, _NOWHERE))
