"""What a pod gets: the step that captures its traffic, the sidecar, and the sidecar's volumes. Pure; looks at no pod."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from controlplane.kubernetes.injection.exclusions import Exclusions
from controlplane.kubernetes.injection.ports import HEALTH_PORT, METRICS_PORT, PROXY_ID
from controlplane.kubernetes.injection.probes import VARIABLE
from controlplane.kubernetes.injection.review import Json
from controlplane.kubernetes.injection.rules import Resources, Rules
from controlplane.kubernetes.names import TRUST_BUNDLE, TRUST_BUNDLE_KEY

INIT, SIDECAR = "picket-init", "picket-sidecar"
STATE_VOLUME, IDENTITY_VOLUME = "picket-state", "picket-identity"
READY_PATH = "/healthz/ready"
STATE, IDENTITY = "/var/lib/picket", "/var/run/secrets/picket"
TOKEN_SECONDS = 3600
#: Reports that wait while the control plane is away, the key and the last configuration: more than the spool's own bound.
STATE_LIMIT = "160Mi"
#: Of the pod's time to end, so much is left after both drains for Envoy to stop and the last reports to go.
STOP_SECONDS = 5
#: Others send to a pod until they know that it leaves.
LEAST_DRAIN_SECONDS = 5
DEFAULT_GRACE_SECONDS = 30
MAX_DRAIN_SECONDS = 600
_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})\Z")
_UNPRIVILEGED: Mapping[str, object] = {
    "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def init_container(rules: Rules, exclusions: Exclusions) -> Json:
    """The step that puts the redirect in place and ends: the only one with a privilege."""
    arguments = ["init", "--uid", str(PROXY_ID)]
    for option, values in (
        ("--exclude-inbound-ports", exclusions.inbound_ports),
        ("--exclude-outbound-ports", exclusions.outbound_ports),
        ("--exclude-outbound-cidrs", exclusions.outbound_cidrs),
    ):
        if values:
            arguments += [option, ",".join(map(str, values))]
    return {
        **_base(INIT, rules),
        "args": arguments,
        "resources": _resources(Resources({"cpu": "10m", "memory": "32Mi"}, {"memory": "64Mi"})),
        "securityContext": {
            **_UNPRIVILEGED,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
        },
    }


def digest_of(application: Sequence[Json]) -> str:
    """The digest that pins the image of the application's first container; empty where none does."""
    image = application[0].get("image") if application else None
    found = _PINNED.search(image) if isinstance(image, str) else None
    return found[1] if found else ""


def sidecar(rules: Rules, workload: str, probes: str, digest: str, grace_seconds: int) -> Json:
    """Agent and Envoy, without privilege, as the user whose traffic passes.

    Args:
        rules: what is the same for all pods.
        workload: ``namespace/account`` of the pod; what its certificate says comes from its token alone.
        probes: the application's, that the agent makes in kubelet's place (`probes.write_record`); empty for none.
        digest: of the application's image; empty where the pod does not pin it.
        grace_seconds: how long the pod may take to end.
    """
    # Once before the signal to end, for what comes in, and once after it, for what the application still finishes.
    drain_seconds = min(max(grace_seconds - STOP_SECONDS, 0) // 2, MAX_DRAIN_SECONDS)
    least_seconds = min(drain_seconds, LEAST_DRAIN_SECONDS)
    fixed = {
        "PICKET_SIDECAR_STATE": f"{STATE}/sidecar",
        "PICKET_SIDECAR_REDIRECT_BY": "init",
        **_identity(rules),
        "PICKET_SIDECAR_WORKLOAD": workload,
        "PICKET_SIDECAR_DRAIN_SECONDS": str(drain_seconds),
        **rules.environment,
    }
    if probes:
        fixed[VARIABLE] = probes
    if digest:
        fixed["PICKET_SIDECAR_IMAGE_DIGEST"] = digest
    environment: list[Json] = [{"name": name, "value": value} for name, value in sorted(fixed.items())]
    own_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    environment.append({"name": "PICKET_SIDECAR_INSTANCE", "valueFrom": own_name})
    health = {"httpGet": {"path": READY_PATH, "port": HEALTH_PORT, "scheme": "HTTP"}}
    made: Json = {
        **_base(SIDECAR, rules),
        "env": environment,
        "lifecycle": {"preStop": {"exec": {"command": ["picket-sidecar", "drain", "--least-seconds", str(least_seconds)]}}},
        "ports": [
            {"name": "picket-health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
            {"name": "picket-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3},
        "resources": _resources(rules.resources),
        "securityContext": {
            **_UNPRIVILEGED,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": PROXY_ID,
            "runAsGroup": PROXY_ID,
        },
        "volumeMounts": [
            {"name": STATE_VOLUME, "mountPath": STATE},
            {"name": IDENTITY_VOLUME, "mountPath": IDENTITY, "readOnly": True},
        ],
    }
    if rules.native:
        made["restartPolicy"] = "Always"
        # The application's containers begin when this has succeeded: their first call finds Envoy.
        made["startupProbe"] = {**health, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 600}
    return made


def _identity(rules: Rules) -> dict[str, str]:
    """How the sidecar comes to its identity, as its options."""
    if (api := rules.workload_api) is None:
        return {
            "PICKET_SIDECAR_TOKEN_FILE": f"{IDENTITY}/token",
            "PICKET_SIDECAR_BUNDLE_FILE": f"{IDENTITY}/{TRUST_BUNDLE_KEY}",
        }
    options = {"PICKET_SIDECAR_IDENTITY": "workload-api", "PICKET_SIDECAR_WORKLOAD_API": f"unix://{IDENTITY}/{api.socket}"}
    return options | ({"PICKET_SIDECAR_SVID_HINT": api.hint} if api.hint else {})


def volumes(rules: Rules) -> list[Json]:
    """The sidecar's state, and what it joins by: the Workload API, or its token for the control plane and the mesh's roots."""
    return [{"name": STATE_VOLUME, "emptyDir": {"sizeLimit": STATE_LIMIT}}, {"name": IDENTITY_VOLUME, **_joined_by(rules)}]


def _joined_by(rules: Rules) -> Json:
    if (api := rules.workload_api) is not None:
        # The driver mounts the directory of the node's agent, and takes read-only volumes alone: https://github.com/spiffe/spiffe-csi
        own = {"driver": api.csi_driver, "readOnly": True}
        return {"csi": own} if api.csi_driver else {"hostPath": {"path": api.host_path, "type": "Directory"}}
    token = {"serviceAccountToken": {"audience": rules.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token"}}
    roots = {"configMap": {"name": TRUST_BUNDLE, "items": [{"key": TRUST_BUNDLE_KEY, "path": TRUST_BUNDLE_KEY}]}}
    return {"projected": {"defaultMode": 0o444, "sources": [token, roots]}}


def _base(name: str, rules: Rules) -> Json:
    return {"name": name, "image": rules.image, "imagePullPolicy": rules.pull_policy, "command": ["picket-sidecar"]}


def _resources(given: Resources) -> Json:
    return {key: dict(values) for key, values in (("requests", given.requests), ("limits", given.limits)) if values}
