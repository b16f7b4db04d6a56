"""Reads what an administrator decided about injection from a YAML file. Never looks at a pod."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

from controlplane.kubernetes.injection.rules import DEFAULT_RESOURCES, Resources, Rules, RulesError

MAX_FILE_BYTES = 256 * 1024
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}\Z")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_OPTION = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")


#: Kubernetes takes numbers as quantities, too: `cpu: 2`.
_Quantities = dict[str, str | int | float]


class _Asked(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    requests: _Quantities = {}
    limits: _Quantities = {}


class _Document(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    image: str
    own_namespace: str
    audience: str = "picket"
    native: bool = True
    pull_policy: str = "IfNotPresent"
    pull_secrets: list[str] = []
    exclusions_allowed: list[str] = []
    environment: dict[str, str] = {}
    resources: _Asked | None = None


def load_rules(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        RulesError: unreadable, not YAML, or not of the format; the message says where.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RulesError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_rules(text, str(path))


def parse_rules(text: bytes, file: str) -> Rules:
    """The rules in a document; ``file`` is what errors call it.

    Raises:
        RulesError: too large, not YAML, or not of the format.
    """
    if len(text) > MAX_FILE_BYTES:
        raise RulesError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    try:
        found = msgspec.convert(yaml.load(text, yaml.CSafeLoader), _Document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RulesError(f"{file}: {' '.join(str(error).split())[:300]}") from error
    if _IMAGE.match(found.image) is None:
        raise RulesError(f"{file}: image: {found.image[:80]!r} is not a name such as registry.example.org/picket:0.1.0")
    for where, names in (("ownNamespace", [found.own_namespace]), ("exclusionsAllowed", found.exclusions_allowed)):
        if wrong := next((name for name in names if _NAMESPACE.match(name) is None), None):
            raise RulesError(f"{file}: {where}: {wrong[:80]!r} is not a namespace")
    if wrong := next((name for name in found.environment if _OPTION.match(name) is None), None):
        raise RulesError(f"{file}: environment: {wrong[:80]!r} is not a variable such as PICKET_SIDECAR_CONCURRENCY")
    if found.pull_policy not in {"Always", "IfNotPresent", "Never"}:
        raise RulesError(f"{file}: pullPolicy: Always, IfNotPresent or Never")
    asked = found.resources
    return Rules(
        image=found.image,
        own_namespace=found.own_namespace,
        audience=found.audience,
        native=found.native,
        pull_policy=found.pull_policy,
        pull_secrets=tuple(found.pull_secrets),
        exclusions_allowed=frozenset(found.exclusions_allowed),
        environment=found.environment,
        resources=DEFAULT_RESOURCES if asked is None else Resources(_texts(asked.requests), _texts(asked.limits)),
    )


def _texts(quantities: _Quantities) -> dict[str, str]:
    return {name: str(quantity) for name, quantity in quantities.items()}
