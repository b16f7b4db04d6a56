"""One TrafficPolicy object as the cluster's API has it: what it says, who wrote it, and its status. Asks nobody, decides nothing.

An object with the label `OWN` is Picket's: written from what people approved, and so never put into force again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from controlplane.kubernetes.client import Client
from controlplane.kubernetes.crd import PLURAL
from controlplane.kubernetes.names import FIELD_MANAGER, MANAGED_BY_LABEL, REVISION_ANNOTATION
from controlplane.kubernetes.objects import Metadata, Object
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import API_VERSION, KIND, TrafficPolicy

PATH = f"/apis/{API_VERSION}/{PLURAL}"
#: The label by which an object is Picket's own.
OWN = (MANAGED_BY_LABEL, "picket")
APPLIED, WRITTEN, IN_FORCE = "Applied", "Written", "InForce"
_MAX_MESSAGE = 1_000


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that is so, or not. Source: the API conventions' `metav1.Condition`."""

    type: str
    status: str
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """What became of an object."""

    observed_generation: int = 0
    revision: int = 0
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """A condition, where it was said."""
        return next((found for found in self.conditions if found.type == kind), None)


class _Managed(msgspec.Struct, frozen=True, rename="camel"):
    """Which fields somebody wrote, as server-side apply keeps it; when is of no interest."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fields: dict[str, Any] | None = msgspec.field(name="fieldsV1", default=None)


class _Metadata(Metadata, frozen=True):
    uid: str = ""
    generation: int = 0
    annotations: dict[str, str] | None = None
    managed_fields: tuple[_Managed, ...] | None = None


class PolicyObject(Object, frozen=True):
    """One object."""

    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: Status = Status()

    @property
    def is_own(self) -> bool:
        """Whether it says that it is Picket's."""
        label, value = OWN
        return (self.metadata.labels or {}).get(label) == value

    @property
    def written_revision(self) -> int:
        """The policy revision by which Picket wrote it; 0 where it does not say."""
        text = (self.metadata.annotations or {}).get(REVISION_ANNOTATION, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0

    @property
    def others(self) -> tuple[str, ...]:
        """Who beside Picket wrote some of what it says (`spec`), by their managers' names; empty where Picket alone did."""
        managed = self.metadata.managed_fields or ()
        written = [entry for entry in managed if not entry.subresource and "f:spec" in (entry.fields or {})]
        found = {entry.manager for entry in written if (entry.manager, entry.operation) != (FIELD_MANAGER, "Apply")}
        return tuple(sorted(found)) if found or written else ("somebody",)

    @property
    def service(self) -> str:
        """The service that it speaks for, or would if it read: ``namespace/name``."""
        said = (self.spec or {}).get("service")
        if not isinstance(said, str) or not said:
            return self.metadata.key
        return said if "/" in said else f"default/{said}"

    def document(self) -> TrafficPolicy | str:
        """What it says, or why it says nothing: by the reader that files have."""
        name = {"name": self.metadata.name, "namespace": self.metadata.namespace}
        body = msgspec.json.encode({"apiVersion": API_VERSION, "kind": KIND, "metadata": name, "spec": self.spec or {}})
        reading = read_documents(body, self.metadata.key)
        if reading.findings or not reading.documents:
            return "; ".join(f"{found.key}: {found.message}" for found in reading.findings) or "it holds nothing"
        document = reading.documents[0]
        if document.service.namespace != self.metadata.namespace:
            return f"spec.service: {document.service} is of another namespace: an object speaks for services of its own"
        return document


def path_of(namespace: str, name: str) -> str:
    """Where an object is."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}"


def yes(kind: str, reason: str) -> Condition:
    """That something is so."""
    return Condition(kind, "True", reason)


def no(kind: str, reason: str, message: str) -> Condition:
    """That something is not so, and why."""
    return Condition(kind, "False", reason, message[:_MAX_MESSAGE])


def status_of(generation: int, revision: int, *conditions: Condition) -> Status:
    """A status that says this of a generation."""
    told: Sequence[Condition] = [msgspec.structs.replace(found, observed_generation=generation) for found in conditions]
    return Status(generation, revision, tuple(told))


def dated(status: Status, before: Status, now: datetime) -> Status:
    """With the time since when each condition is as it is."""
    since = {(found.type, found.status): found.last_transition_time for found in before.conditions}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        msgspec.structs.replace(found, last_transition_time=since.get((found.type, found.status)) or stamp)
        for found in status.conditions
    ]
    return msgspec.structs.replace(status, conditions=tuple(conditions))


async def write_status(client: Client, item: PolicyObject, status: Status) -> None:
    """Have an object say what became of it. Raises `client.KubernetesError`."""
    path = path_of(item.metadata.namespace, item.metadata.name)
    await client.patch(f"{path}/status", [{"op": "add", "path": "/status", "value": status}], PolicyObject)
