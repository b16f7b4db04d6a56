"""TrafficPolicy objects of a cluster: each generation is put into force once, and the status says what became of it.

What people approve elsewhere afterwards stays: the object then shows that it is not what is in force, and is not applied again
until somebody changes it. An object speaks for services of its own namespace alone. One that is deleted takes no rule away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.crd import PLURAL
from controlplane.kubernetes.objects import Metadata, Object
from controlplane.kubernetes.watch import Watch
from controlplane.policy.applied import applied
from controlplane.policy.rules import Policy
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import API_VERSION, KIND, TrafficPolicy
from controlplane.store.interface import StoreError
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused

PATH = f"/apis/{API_VERSION}/{PLURAL}"
#: What is in force may change without any object changing, and what was refused may be possible by now.
LOOK_SECONDS = 15.0
APPLIED, IN_FORCE = "Applied", "InForce"
_MAX_MESSAGE = 1_000
_log = structlog.get_logger("picket.policies")


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

    def is_true(self, kind: str) -> bool:
        """Whether a condition holds."""
        return any(condition.type == kind and condition.status == "True" for condition in self.conditions)


class _Metadata(Metadata, frozen=True):
    generation: int = 0


class PolicyObject(Object, frozen=True):
    """One object."""

    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: Status = Status()


class Policies:
    """Puts one cluster's objects into force."""

    def __init__(
        self,
        client: Client,
        review: Review,
        in_force: Callable[[], Policy],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``in_force`` gives the policy as it is now."""
        self._client = client
        self._review = review
        self._in_force = in_force
        self._clock = clock
        self._changed = asyncio.Event()
        self._watch = Watch(client, PATH, PolicyObject, self._changed.set)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            group.create_task(self._keep())

    async def _keep(self) -> None:
        await self._watch.synced.wait()
        while True:
            self._changed.clear()
            for item in sorted(self._watch.objects.values(), key=lambda item: item.metadata.key):
                try:
                    await self.settle(item)
                except (KubernetesError, StoreError) as error:
                    _log.warning("object not settled", object=item.metadata.key, error=str(error))
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def settle(self, item: PolicyObject) -> Status:
        """Apply an object where that was not done, and write its status where it says something else.

        Raises:
            KubernetesError: the status cannot be written.
            StoreError: the database refused.
        """
        status = self._dated(await asyncio.to_thread(self._judged, item), item.status)
        if status != item.status:
            metadata = item.metadata
            path = f"/apis/{API_VERSION}/namespaces/{metadata.namespace}/{PLURAL}/{metadata.name}/status"
            await self._client.patch(path, [{"op": "add", "path": "/status", "value": status}], PolicyObject)
            _log.info("object settled", object=metadata.key, conditions={found.type: found.reason for found in status.conditions})
        return status

    def _judged(self, item: PolicyObject) -> Status:
        generation, before = item.metadata.generation, item.status
        document = _document(item)
        if isinstance(document, str):
            return _status(
                generation, before.revision, _no(APPLIED, "Invalid", document), _no(IN_FORCE, "Invalid", "it does not read")
            )
        done = next((found for found in before.conditions if found.type == APPLIED), None)
        revision = before.revision
        if done is None or before.observed_generation != generation or done.status != "True":
            done, revision = self._apply(item, document, revision)
        if applied(self._in_force(), [document]).is_same:
            return _status(generation, revision, done, Condition(IN_FORCE, "True", "Same"))
        told = "something else is in force: compare by `picket policy diff`; change this object to have it applied again"
        return _status(generation, revision, done, _no(IN_FORCE, "Differs", told))

    def _apply(self, item: PolicyObject, document: TrafficPolicy, revision: int) -> tuple[Condition, int]:
        key, generation = item.metadata.key, item.metadata.generation
        outcome = self._review.documents.apply([document], f"kubernetes:{key}", f"{KIND} {key}, generation {generation}")
        match outcome:
            case Published(published):
                return Condition(APPLIED, "True", "Published"), published
            case Done():
                return Condition(APPLIED, "True", "Same"), revision or self._in_force().revision
            case Refused(reason):
                return _no(APPLIED, "Refused", reason), revision

    def _dated(self, status: Status, before: Status) -> Status:
        """With the time since when each condition is as it is."""
        since = {(found.type, found.status): found.last_transition_time for found in before.conditions}
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        dated = [
            msgspec.structs.replace(found, last_transition_time=since.get((found.type, found.status)) or now)
            for found in status.conditions
        ]
        return msgspec.structs.replace(status, conditions=tuple(dated))


def _document(item: PolicyObject) -> TrafficPolicy | str:
    """What an object says, or why it says nothing: by the reader that files have."""
    name = {"name": item.metadata.name, "namespace": item.metadata.namespace}
    body = msgspec.json.encode({"apiVersion": API_VERSION, "kind": KIND, "metadata": name, "spec": item.spec or {}})
    reading = read_documents(body, item.metadata.key)
    if reading.findings or not reading.documents:
        return "; ".join(f"{found.key}: {found.message}" for found in reading.findings) or "it holds nothing"
    document = reading.documents[0]
    if document.service.namespace != item.metadata.namespace:
        return f"spec.service: {document.service} is of another namespace: an object speaks for services of its own"
    return document


def _no(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, "False", reason, message[:_MAX_MESSAGE])


def _status(generation: int, revision: int, *conditions: Condition) -> Status:
    told: Sequence[Condition] = [msgspec.structs.replace(found, observed_generation=generation) for found in conditions]
    return Status(generation, revision, tuple(told))
