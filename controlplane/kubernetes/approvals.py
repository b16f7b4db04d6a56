"""Approved allow-lists written as TrafficPolicy objects, where a namespace's label asks for it; kept as what is approved.

They are applied by server-side apply and never forced, so that a field that somebody else wrote stays theirs: the object then
shows the conflict. A service whose document is in the cluster already, from Git or by hand, gets no second one. What is allowed
for a time alone is not written. Several control planes write the same, and one that is behind writes nothing.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.names import FIELD_MANAGER, REVISION_ANNOTATION
from controlplane.kubernetes.policyobject import (
    IN_FORCE,
    OWN,
    WRITTEN,
    PolicyObject,
    dated,
    no,
    path_of,
    status_of,
    write_status,
    yes,
)
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.objects import Standing, State
from controlplane.policy.traffic_policy import API_VERSION, KIND
from controlplane.policy.traffic_text import spec_of
from controlplane.store.interface import StoreError
from controlplane.workflow.approved import ApprovedDocument

_GONE, _CONFLICT = 404, 409
_LABEL, _OWN = OWN
_REMEDY = (
    f"delete the object, and it is written again as approved, or take its label {_LABEL} away, and it is put into force as it is"
)
_log = structlog.get_logger("picket.approvals")


@dataclass(frozen=True, slots=True)
class Write:
    """The object is to say this."""

    document: ApprovedDocument


@dataclass(frozen=True, slots=True)
class Remove:
    """Nobody wants the object any more."""

    item: PolicyObject


@dataclass(frozen=True, slots=True)
class Same:
    """It says what it is to say."""

    item: PolicyObject


@dataclass(frozen=True, slots=True)
class Conflict:
    """It is somebody else's, in part or whole, and stays; ``item`` is there where it is to show that itself."""

    service: str
    reason: str
    item: PolicyObject | None


Step = Write | Remove | Same | Conflict


def steps(wanted: Collection[ApprovedDocument], there: Mapping[str, PolicyObject], revision: int) -> Iterator[tuple[str, Step]]:
    """What is to be done about each object, by ``namespace/name``. Pure.

    ``wanted`` is what the labelled namespaces are to hold at ``revision``. An object that was written at a later one is left to
    the control plane that wrote it: this one does not know yet what it knew.
    """
    spoken_for = {item.service: key for key, item in there.items() if not item.is_own}
    left = {key: item for key, item in there.items() if item.is_own}
    taken: set[str] = set()
    for document in sorted(wanted, key=lambda document: document.service):
        key = document.key
        if document.service in spoken_for:
            continue
        if key in taken:
            yield f"{key}#{document.service}", Conflict(document.service, "another service's object has its name", None)
            continue
        taken.add(key)
        left.pop(key, None)
        yield key, _kept(document, there.get(key), revision)
    for key, item in left.items():
        if item.written_revision > revision:
            yield key, _behind(item, revision)
        elif item.others:
            other = spoken_for.get(item.service)
            why = "nothing is approved for its service" if other is None else f"{other} speaks for its service"
            told = f"{_changed_by(item)}, and by now {why}: delete it, or take its label {_LABEL} away"
            yield key, Conflict(item.service, told, item)
        else:
            yield key, Remove(item)


def _kept(document: ApprovedDocument, item: PolicyObject | None, revision: int) -> Step:
    if item is None:
        return Write(document)
    if not item.is_own:
        told = f"there is an object of its name that speaks for {item.service}; give that one another name"
        return Conflict(document.service, told, None)
    if item.written_revision > revision:
        return _behind(item, revision)
    if item.spec == spec_of(document.document) or item.document() == document.document:
        return Same(item)
    if item.others:
        return Conflict(document.service, f"{_changed_by(item)}, and it stays so: {_REMEDY}", item)
    return Write(document)


def _behind(item: PolicyObject, revision: int) -> Conflict:
    told = f"it was written at revision {item.written_revision}, and here revision {revision} is in force"
    return Conflict(item.service, f"{told}; where the database was restored, delete it", None)


def _changed_by(item: PolicyObject) -> str:
    return f"{', '.join(item.others)[:200]} changed what Picket had written"


class Approvals:
    """Writes into one cluster."""

    def __init__(
        self,
        client: Client,
        held: PolicyObjects,
        approved: Callable[[Collection[str]], tuple[int, Collection[ApprovedDocument]]],
        namespaces: Callable[[], Collection[str]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``approved`` gives the revision in force and what is approved in some namespaces, ``namespaces`` which want it."""
        self._client = client
        self._held = held
        self._approved = approved
        self._namespaces = namespaces
        self._clock = clock
        self._told: dict[str, str] = {}
        self._lacking: dict[str, Standing] = {}

    @property
    def lacking(self) -> tuple[Standing, ...]:
        """Objects that cannot be written, and so do not say it themselves, with the reason."""
        return tuple(self._lacking.values())

    async def run(self) -> None:
        """Write for ever."""
        await self._held.keep(self.look)

    async def look(self) -> None:
        """Bring all objects up to date. What fails is logged once, shown, and tried again the next time."""
        try:
            revision, wanted = await asyncio.to_thread(self._approved, frozenset(self._namespaces()))
        except StoreError as error:
            _log.warning("approvals not read", error=str(error))
            return
        planned = await asyncio.to_thread(lambda: list(steps(wanted, dict(self._held.objects), revision)))
        told: dict[str, str] = {}
        lacking: dict[str, Standing] = {}
        for key, step in planned:
            try:
                refused = await self._do(key, step)
            except KubernetesError as error:
                told[key] = str(error)
                refused = Conflict(step.document.service, str(error), None) if isinstance(step, Write) else None
            if refused is not None:
                told[key] = refused.reason
                if refused.item is None:
                    lacking[key] = Standing(key, refused.service, True, State.CONFLICT, 0, refused.reason)
        for key, reason in told.items():
            if self._told.get(key) != reason:
                _log.warning("policy object not kept", object=key, reason=reason)
        self._told, self._lacking = told, lacking

    async def _do(self, key: str, step: Step) -> Conflict | None:
        """Do it; what stands in the way, where something does. Raises `KubernetesError`."""
        match step:
            case Write(document):
                item = await self._applied(document)
                if isinstance(item, Conflict):
                    return item
                _log.info("policy object written", object=key, revision=document.revision)
                await self._say(item, None)
            case Remove(item):
                metadata = item.metadata
                path = path_of(metadata.namespace, metadata.name)
                try:
                    await self._client.delete(path, uid=metadata.uid, version=metadata.resource_version)
                except KubernetesError as error:
                    if error.status not in {_GONE, _CONFLICT}:  # what the watch has not told of yet is looked at when it has
                        raise
                else:
                    _log.info("policy object removed", object=key)
            case Same(item):
                await self._say(item, None)
            case Conflict(item=item):
                if item is not None:
                    await self._say(item, step.reason)
                return step
        return None

    async def _applied(self, document: ApprovedDocument) -> PolicyObject | Conflict:
        namespace, _, name = document.key.partition("/")
        metadata = {
            "name": name, "namespace": namespace, "labels": {_LABEL: _OWN},
            "annotations": {REVISION_ANNOTATION: str(document.revision)},
        }  # fmt: skip
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec_of(document.document)}
        try:
            return await self._client.apply(path_of(namespace, name), body, PolicyObject, FIELD_MANAGER)
        except KubernetesError as error:
            if error.status != _CONFLICT:
                raise
            # Somebody was faster than the watch; the object shows it at the next look.
            return Conflict(document.service, f"{error}: {_REMEDY}", self._held.objects.get(document.key))

    async def _say(self, item: PolicyObject, conflict: str | None) -> None:
        """Have an object show how it stands, where it does not."""
        if conflict is None:
            conditions = (yes(WRITTEN, "Approved"), yes(IN_FORCE, "Same"))
        else:
            conditions = (no(WRITTEN, "Conflict", conflict), no(IN_FORCE, "Differs", conflict))
        status = dated(status_of(item.metadata.generation, item.written_revision, *conditions), item.status, self._clock())
        if status != item.status:
            await write_status(self._client, item, status)
