"""All TrafficPolicy objects of a cluster, and how each of them stands. Looks at what their statuses say; writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping

from controlplane.kubernetes.client import Client
from controlplane.kubernetes.policyobject import APPLIED, IN_FORCE, PATH, WRITTEN, PolicyObject
from controlplane.kubernetes.watch import Watch
from controlplane.policy.objects import Standing, State
from controlplane.policy.traffic_policy import TrafficPolicy

#: What is in force may change without any object changing, and what was refused may be possible by now.
LOOK_SECONDS = 15.0
#: Changes come in flocks.
GATHER_SECONDS = 0.1
#: Why nobody looks after an object, by whether it is Picket's own.
_UNKEPT = {
    True: "it is left from when approvals were written here (--kubernetes-approvals): delete it",
    False: "objects are not put into force here (--kubernetes-policies)",
}


class PolicyObjects:
    """Follows them; whoever looks after them is woken by each change."""

    def __init__(self, client: Client) -> None:
        self._bells: list[asyncio.Event] = []
        self._watch = Watch(client, PATH, PolicyObject, self.ring)
        self._read: dict[str, tuple[str, int, TrafficPolicy | str]] = {}

    @property
    def objects(self) -> Mapping[str, PolicyObject]:
        """What is there now, by ``namespace/name``. Changes in place."""
        return self._watch.objects

    def ring(self) -> None:
        """Have everybody look again: an object is another one, or something else is in force."""
        for bell in self._bells:
            bell.set()

    async def run(self) -> None:
        """Follow for ever."""
        await self._watch.run()

    async def keep(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look once all are known, at each change, and now and then, for ever."""
        bell = asyncio.Event()
        self._bells.append(bell)
        await self._watch.synced.wait()
        while True:
            bell.clear()
            await look()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await bell.wait()
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                continue

    def document(self, item: PolicyObject) -> TrafficPolicy | str:
        """What an object says, or why it says nothing. Each generation is read once."""
        key, uid, generation = item.metadata.key, item.metadata.uid, item.metadata.generation
        read = self._read.get(key)
        if read is None or read[:2] != (uid, generation):
            if len(self._read) > 2 * len(self.objects):
                self._read.clear()  # most of them are gone
            read = self._read[key] = (uid, generation, item.document())
        return read[2]

    def standings(self, *, applied: bool, written: bool) -> Iterator[Standing]:
        """Each object by what its status says, in the order of their names.

        Whether objects are put into force here, and whether Picket's own are kept: what nobody looks after says nothing by its
        status.
        """
        for key, item in sorted(self.objects.items()):
            looked_after = written if item.is_own else applied
            state, reason = _state(item) if looked_after else (State.UNKEPT, _UNKEPT[item.is_own])
            yield Standing(key, item.service, item.is_own, state, item.status.revision, reason)


def _state(item: PolicyObject) -> tuple[State, str]:
    done, same = item.status.condition(WRITTEN if item.is_own else APPLIED), item.status.condition(IN_FORCE)
    if done is None or same is None or item.status.observed_generation != item.metadata.generation:
        return State.WAITING, "nobody has looked at it yet"
    if done.status != "True":
        return State.CONFLICT if item.is_own else State.REFUSED, done.message
    return (State.IN_FORCE, "") if same.status == "True" else (State.DIFFERS, same.message)
