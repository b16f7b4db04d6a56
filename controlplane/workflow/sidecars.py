"""The state of every sidecar: connected, revision, ACK or NACK. Kept in memory, written to the store in the background.

Hears the streams' events on the server's event loop; never decides what a sidecar is sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import structlog

from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import GAP_TOLD_MS, SidecarRow

FLUSH_INTERVAL_SECONDS = 0.25
#: A sidecar that watches says so every ten minutes, and soon after its start; one that says nothing for so long does not.
SILENT_MS, FIRST_SIGN_MS = 30 * 60_000, 5 * 60_000
#: Of sidecars that only moved on to a newer revision, so many are written at a time: a revision moves all that are connected.
MOVED_ON_AT_ONCE = 200
MAX_MESSAGE_CHARACTERS = 2_000
_log = structlog.get_logger("picket.sidecars")


def blind_since(row: SidecarRow, now_ms: int) -> int | None:
    """Since when not all that a sidecar sees is reported: reports went missing, or it is connected and sends none.

    What went missing is told until a day has passed without more of it: a crash of long ago says nothing of what is seen now.
    """
    if row.blind_since_ms is not None and now_ms - (row.gap_ms or row.blind_since_ms) <= GAP_TOLD_MS:
        return row.blind_since_ms
    if not row.connected or row.connected_ms is None:
        return None
    if now_ms - row.connected_ms <= FIRST_SIGN_MS:
        return None
    if row.last_report_ms is None:
        return row.connected_ms
    return row.last_report_ms if now_ms - row.last_report_ms > SILENT_MS else None


@dataclass(frozen=True, slots=True)
class Announced:
    """What a sidecar says of itself, which nobody attests, and the address that it called from (empty for a Unix socket)."""

    agent_version: str
    envoy_version: str
    capture: str
    certificate_not_after_ms: int
    image_digest: str
    address: str


@dataclass(slots=True)
class _State:
    """A `SidecarRow` that changes, without what only telemetry writes; pushes are too many to make a new row for each."""

    workload: str
    instance: str
    connected: bool = False
    connected_ms: int | None = None
    sent_version: str = ""
    acked_version: str = ""
    revision: int = 0
    nack_type: str = ""
    nack_message: str = ""
    nack_ms: int | None = None
    agent_version: str = ""
    envoy_version: str = ""
    capture: str = ""
    certificate_not_after_ms: int | None = None
    plane: str = ""
    image_digest: str = ""
    address: str = ""
    bundle: str = ""
    issuer: str = ""
    streams: int = 0

    def row(self) -> SidecarRow:
        """What is stored."""
        return SidecarRow(**{name: getattr(self, name) for name in _KEPT})


_KEPT = tuple(field.name for field in fields(_State) if field.name != "streams")
Key = tuple[str, str]


class SidecarStates:
    """One state per (workload, instance)."""

    def __init__(self, store: Store, clock_ms: Callable[[], int], plane: str = "") -> None:
        """``plane`` names this control plane. Nobody is connected to it yet; `workflow.presence` says so to those who look."""
        self._store = store
        self._plane = plane
        self._clock_ms = clock_ms
        self._states: dict[Key, _State] = {}
        self._dirty: set[Key] = set()
        self._moved_on: dict[Key, None] = {}
        self._stopping = asyncio.Event()
        for row in store.sidecars():
            key = (row.workload, row.instance)
            self._states[key] = _State(**{name: getattr(row, name) for name in _KEPT})
            self._states[key].connected = False

    @property
    def connected_count(self) -> int:
        """Sidecars with a stream. May be asked from any thread, as the next."""
        return sum(1 for state in tuple(self._states.values()) if state.connected)

    @property
    def nacked_count(self) -> int:
        """Connected sidecars that refused what they were last sent."""
        return sum(1 for state in tuple(self._states.values()) if state.connected and state.nack_type)

    def lagging(self, bundle: str) -> int:
        """Connected sidecars that did not take these roots yet, by their fingerprint."""
        return sum(1 for state in tuple(self._states.values()) if state.connected and state.bundle != bundle)

    def connected(self, workload: str, instance: str, version: str, issuer: str = "") -> None:
        """A stream began; ``issuer`` names the key that signed the sidecar's certificate."""
        state = self._changed(workload, instance)
        state.streams += 1
        state.connected, state.connected_ms, state.sent_version = True, self._clock_ms(), version
        state.plane, state.issuer = self._plane, issuer

    def disconnected(self, workload: str, instance: str) -> None:
        """A stream ended; the sidecar may have another one already."""
        state = self._changed(workload, instance)
        state.streams = max(state.streams - 1, 0)
        state.connected = state.streams > 0

    def sent(self, workload: str, instance: str, version: str) -> None:
        """Something of a snapshot went out."""
        state = self._states.get((workload, instance))
        if state is None or state.sent_version != version:
            self._changed(workload, instance).sent_version = version

    def acked(
        self, workload: str, instance: str, short_type: str, version: str, revision: int, *, settled: bool, bundle: str = ""
    ) -> None:
        """The sidecar took a response.

        ``settled`` when it now has the whole snapshot, with the roots of that fingerprint, so that nothing is refused any more.
        """
        state = self._states.get((workload, instance))
        if state is not None and state.nack_type and (settled or state.nack_type == short_type):
            self._mended(workload, instance)
        if settled:
            state = self._changed(workload, instance)
            state.acked_version, state.revision, state.bundle = version, revision, bundle

    def runs(self, workload: str, instance: str, version: str, revision: int, bundle: str = "") -> None:
        """A newer revision, or other roots, ask of the sidecar what it runs already, all of it."""
        state = self._states.get((workload, instance))
        if state is not None:
            if state.nack_type:
                self._mended(workload, instance)
            state.acked_version, state.revision, state.bundle = version, revision, bundle
            self._moved_on[workload, instance] = None

    def nacked(self, workload: str, instance: str, short_type: str, message: str) -> None:
        """The sidecar refused a response and keeps what it had."""
        state = self._changed(workload, instance)
        state.nack_type, state.nack_message, state.nack_ms = short_type, message[:MAX_MESSAGE_CHARACTERS], self._clock_ms()

    def _mended(self, workload: str, instance: str) -> None:
        """What was refused is taken by now, or not asked for any more."""
        state = self._changed(workload, instance)
        state.nack_type, state.nack_message, state.nack_ms = "", "", None

    def announced(self, workload: str, instance: str, said: Announced) -> None:
        """What a sidecar says of itself."""
        state = self._changed(workload, instance)
        state.agent_version, state.envoy_version, state.capture = said.agent_version, said.envoy_version, said.capture
        state.certificate_not_after_ms = said.certificate_not_after_ms or None
        state.image_digest, state.address = said.image_digest, said.address

    def say_again(self) -> None:
        """Who is connected here is to be written once more: another control plane has marked them as away."""
        self._dirty.update(key for key, state in self._states.items() if state.connected)

    def forget(self, before_ms: int) -> None:
        """Leave out those that are gone for so long, as the store does."""
        gone = [
            key
            for key, state in self._states.items()
            if not state.connected and max(state.connected_ms or 0, state.certificate_not_after_ms or 0) < before_ms
        ]
        for key in gone:
            if key not in self._dirty:
                del self._states[key]
                self._moved_on.pop(key, None)

    def _changed(self, workload: str, instance: str) -> _State:
        """The state, which is about to change."""
        key = (workload, instance)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State(workload, instance)
        self._dirty.add(key)
        return state

    async def run(self) -> None:
        """Write what changed, until `close`, and then once more."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(FLUSH_INTERVAL_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                pass
            await self.flush(MOVED_ON_AT_ONCE)
        await self.flush()  # and what changed while the last one was being written

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._stopping.set()

    async def flush(self, moved_on: int | None = None) -> None:
        """Write what changed, and so many of those that only moved on; ``None`` for all."""
        # Who was forgotten while a write failed has no state any more.
        dirty = self._dirty.union(itertools.islice(self._moved_on, moved_on)) & self._states.keys()
        self._dirty = set()
        if not dirty:
            return
        for key in dirty:
            self._moved_on.pop(key, None)
        try:
            await asyncio.to_thread(self._write, [self._states[key].row() for key in sorted(dirty)])
        except StoreError as error:
            self._dirty |= dirty
            _log.error("sidecar states not stored", error=str(error))

    def _write(self, rows: Iterable[SidecarRow]) -> None:
        with self._store.transaction() as transaction:
            transaction.save_sidecars(rows)
