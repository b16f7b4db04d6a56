"""TrafficPolicy objects of a cluster: each generation is put into force once, and the status says what became of it.

What people approve elsewhere afterwards stays: the object then shows that it is not what is in force, and is not applied again
until somebody changes it. An object speaks for services of its own namespace alone. One that is deleted takes no rule away.
What Picket itself wrote (`approvals`) is left alone: it would only come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.policyobject import (
    APPLIED,
    IN_FORCE,
    Condition,
    PolicyObject,
    Status,
    dated,
    no,
    status_of,
    write_status,
    yes,
)
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.applied import holds
from controlplane.policy.rules import Policy
from controlplane.policy.traffic_policy import KIND, TrafficPolicy
from controlplane.store.interface import StoreError
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused

_log = structlog.get_logger("picket.policies")


class Policies:
    """Puts one cluster's objects into force."""

    def __init__(
        self,
        client: Client,
        held: PolicyObjects,
        review: Review,
        in_force: Callable[[], Policy],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``in_force`` gives the policy as it is now."""
        self._client = client
        self._held = held
        self._review = review
        self._in_force = in_force
        self._clock = clock

    async def run(self) -> None:
        """Follow for ever."""
        await self._held.keep(self._look)

    async def _look(self) -> None:
        for key, item in sorted(self._held.objects.items()):
            if item.is_own:
                continue
            try:
                await self.settle(item)
            except (KubernetesError, StoreError) as error:
                _log.warning("object not settled", object=key, error=str(error))

    async def settle(self, item: PolicyObject) -> Status:
        """Apply an object where that was not done, and write its status where it says something else.

        Raises:
            KubernetesError: the status cannot be written.
            StoreError: the database refused.
        """
        status = dated(await asyncio.to_thread(self._judged, item), item.status, self._clock())
        if status != item.status:
            await write_status(self._client, item, status)
            reasons = {found.type: found.reason for found in status.conditions}
            _log.info("object settled", object=item.metadata.key, conditions=reasons)
        return status

    def _judged(self, item: PolicyObject) -> Status:
        generation, before = item.metadata.generation, item.status
        document = self._held.document(item)
        if isinstance(document, str):
            return status_of(
                generation, before.revision, no(APPLIED, "Invalid", document), no(IN_FORCE, "Invalid", "it does not read")
            )
        done = before.condition(APPLIED)
        revision = before.revision
        if done is None or before.observed_generation != generation or done.status != "True":
            done, revision = self._apply(item, document, revision)
        if holds(self._in_force(), document):
            return status_of(generation, revision, done, yes(IN_FORCE, "Same"))
        told = (
            "something else is in force: compare by `picket policy diff`; change this object to have it applied again, or bring it "
            "up to date by `picket policy export`"
        )
        return status_of(generation, revision, done, no(IN_FORCE, "Differs", told))

    def _apply(self, item: PolicyObject, document: TrafficPolicy, revision: int) -> tuple[Condition, int]:
        key, generation = item.metadata.key, item.metadata.generation
        outcome = self._review.documents.apply([document], f"kubernetes:{key}", f"{KIND} {key}, generation {generation}")
        match outcome:
            case Published(published):
                return yes(APPLIED, "Published"), published
            case Done():
                return yes(APPLIED, "Same"), revision or self._in_force().revision
            case Refused(reason):
                return no(APPLIED, "Refused", reason), revision
