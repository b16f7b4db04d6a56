"""Reads what an administrator decided about injection from a YAML file. Never looks at a pod."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

from controlplane.kubernetes.injection.rules import DEFAULT_RESOURCES, Resources, Rules, RulesError, WorkloadApi

MAX_FILE_BYTES = 256 * 1024
_MAX_HINT_CHARACTERS = 1024
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}\Z")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_SOCKET = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")
_DRIVER = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?\Z")
_HOST_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,255})+\Z")
_OPTION = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")


#: Kubernetes takes numbers as quantities, too: `cpu: 2`.
_Quantities = dict[str, str | int | float]


class _Asked(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    requests: _Quantities = {}
    limits: _Quantities = {}


class _WorkloadApi(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    socket: str
    csi_driver: str = ""
    host_path: str = ""
    hint: str = ""


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
    workload_api: _WorkloadApi | None = None


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
    if found.workload_api is not None:
        _check_workload_api(found.workload_api, file)
    asked, api = found.resources, found.workload_api
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
        workload_api=None if api is None else WorkloadApi(api.socket, api.csi_driver, api.host_path, api.hint),
    )


def _check_workload_api(api: _WorkloadApi, file: str) -> None:
    """Raises `RulesError`."""
    if _SOCKET.match(api.socket) is None:
        raise RulesError(f"{file}: workloadApi.socket: {api.socket[:80]!r} is not a file's name such as spire-agent.sock")
    if bool(api.csi_driver) is bool(api.host_path):
        raise RulesError(f"{file}: workloadApi: one of csiDriver and hostPath says where the socket comes from")
    if api.csi_driver and _DRIVER.match(api.csi_driver) is None:
        raise RulesError(f"{file}: workloadApi.csiDriver: {api.csi_driver[:80]!r} is not a name such as csi.spiffe.io")
    if api.host_path and _HOST_PATH.match(api.host_path) is None:
        raise RulesError(f"{file}: workloadApi.hostPath: {api.host_path[:80]!r} is not an absolute path")
    if len(api.hint) > _MAX_HINT_CHARACTERS or not api.hint.isprintable():
        raise RulesError(f"{file}: workloadApi.hint: at most {_MAX_HINT_CHARACTERS} printable characters")


def _texts(quantities: _Quantities) -> dict[str, str]:
    return {name: str(quantity) for name, quantity in quantities.items()}
