"""What an administrator decided about injection, and the names that a pod is asked by. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: On a namespace it turns injection on for its pods; on a pod it stands above the namespace's.
INJECTION_LABEL = "picket.dev/injection"
ENABLED, DISABLED = "enabled", "disabled"
#: On a pod, where the administrator lets its namespace: traffic that goes past Envoy. Lists with commas.
EXCLUDE_INBOUND_PORTS = "picket.dev/exclude-inbound-ports"
EXCLUDE_OUTBOUND_PORTS = "picket.dev/exclude-outbound-ports"
EXCLUDE_OUTBOUND_CIDRS = "picket.dev/exclude-outbound-cidrs"
#: Sidecars there would stand in their own way, whatever a label says.
NEVER = frozenset({"kube-system"})


class RulesError(ValueError):
    """A setting of the injection that cannot be; the message says where and which."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one container asks for and may use at most, as Kubernetes quantities."""

    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkloadApi:
    """Where pods find the SPIFFE Workload API's ``socket``, a file's name: in the volume of a CSI driver, or in a node's directory.

    One of ``csi_driver`` and ``host_path`` is empty. ``hint`` says which of several identities of a workload is meant.
    """

    socket: str
    csi_driver: str = ""
    host_path: str = ""
    hint: str = ""


DEFAULT_RESOURCES = Resources({"cpu": "20m", "memory": "96Mi"}, {"memory": "256Mi"})


@dataclass(frozen=True, slots=True)
class Rules:
    """How pods get their sidecar.

    Args:
        image: of control plane and sidecar.
        own_namespace: the control plane's, where nothing is injected.
        environment: options of the sidecar that are the same in each pod, by their environment variables.
        audience: of the service account's token, by which the control plane knows that it is meant.
        native: a sidecar container of Kubernetes 1.29 (``restartPolicy: Always``), or one among the application's, for older ones.
        exclusions_allowed: namespaces in which pods may say that traffic goes past Envoy.
        workload_api: where identities come from; by none, from the control plane by the service account's token.
    """

    image: str
    own_namespace: str
    environment: Mapping[str, str] = field(default_factory=dict)
    audience: str = "picket"
    native: bool = True
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    exclusions_allowed: frozenset[str] = frozenset()
    resources: Resources = DEFAULT_RESOURCES
    workload_api: WorkloadApi | None = None

    @property
    def never(self) -> frozenset[str]:
        """Namespaces without sidecars."""
        return NEVER | {self.own_namespace}
