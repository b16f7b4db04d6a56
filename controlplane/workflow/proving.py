"""Proofs of enforcement: asks for them after each change, has sidecars try, keeps what came of it. Opens no connection itself.

Each proof stands in the store, so that with several control planes the one that holds a fitting sidecar's stream takes it, and the
one that hears the destination's report need not be the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from controlplane.identity.spiffe import WorkloadId, parse_workload
from controlplane.policy.proofs import (
    ENFORCING,
    Answer,
    Ended,
    Proof,
    Status,
    Target,
    forbids,
    judge,
    sources,
    targets_of,
)
from controlplane.policy.rules import Mode, Policy
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.workflow.proofs import MAX_OPEN, PICKET, Proofs
from controlplane.workflow.publish import CompileError, Publisher
from controlplane.workflow.revisions import as_json

LOOK_SECONDS = 1.0
#: How often it is looked whether something is due while nothing changed.
IDLE_MS = 30_000
#: Tried at once, over the whole mesh.
MAX_TRYING = 8
#: A proof that found no sidecar to try it within this time ends without; with several control planes another may have one.
PATIENCE_MS, SHARED_PATIENCE_MS = 60_000, 600_000
#: What could not be reached is tried again by itself after so long.
RETRY_MS = 3_600_000
_HOUR_MS = 3_600_000
_log = structlog.get_logger("picket.proofs")

Who = tuple[WorkloadId, str]


class Couriers(Protocol):
    """Sidecars that are willing to try: `server.probes.Probes`."""

    def listening(self) -> Collection[Who]:
        """Which they are, by workload and instance, as TLS proved them. May be asked from any thread."""

    def send(self, proof: Proof, topology: Topology) -> None:
        """Have a proof's source try it. One that is gone by now gives no answer. Called on the event loop."""


class Proving:
    """The driver of proofs."""

    def __init__(
        self, store: Store, publisher: Publisher, clock_ms: Callable[[], int], every_hours: int, ended: Callable[[Proof], None]
    ) -> None:
        """Each target is tried again after ``every_hours``; 0 for only after a change. ``ended`` hears what came of each proof."""
        self._store = store
        self._proofs = Proofs(store, publisher, clock_ms)
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._every_ms = every_hours * _HOUR_MS
        self._ended = ended
        # In which mode each service drops what is not approved, and since when, as seen from here: what was left and set again is
        # proved again.
        self._enforcing: dict[ServiceName, tuple[Mode, int]] = {}
        self._began = False
        self._checked: tuple[object, int] | None = None  # what was in force when nothing was left to ask for, and when

    def look(self, listening: Collection[Who]) -> Sequence[Proof]:
        """Judge what is tried, ask for what is due, and take what waits; returns what sidecars are to try now.

        Raises:
            StoreError: the database refused; everything stays as it is until it does not.
        """
        found = self._store.proofs(MAX_OPEN, open_only=True)
        rows = self._store.sidecars() if found else ()
        trying = [proof for proof in found if proof.status is Status.TRYING and not self._judged(proof, rows)]
        self._ask_what_is_due(listening)
        busy = {(proof.source, proof.instance) for proof in trying}
        begun: list[Proof] = []
        waiting = [proof for proof in reversed(found) if proof.status is Status.ASKED]
        for proof in waiting:
            if len(busy) >= MAX_TRYING:
                break
            free = [who for who in listening if (str(who[0]), who[1]) not in busy]
            if listening and not free:
                break
            taken = self._taken(proof, free, listening, rows)
            if taken is not None:
                busy.add((taken.source, taken.instance))
                begun.append(taken)
        return begun

    def answered(self, who: Who, mark: str, answer: Answer, told: str) -> None:
        """A sidecar says what came of its try. What was not asked of it counts for nothing.

        Raises:
            StoreError: the database refused; the proof ends without an answer.
        """
        for proof in self._store.proofs(MAX_OPEN, open_only=True):
            asked = (proof.source, proof.instance, proof.mark) == (str(who[0]), who[1], mark)
            if asked and proof.status is Status.TRYING and proof.answer is Answer.NONE:
                told = "".join(letter if letter.isprintable() else "?" for letter in told[:200])
                with self._store.transaction() as transaction:
                    transaction.move_proof(proof, replace(proof, answer=answer, told=told, answered_ms=self._clock_ms()))
                return
        _log.warning("an answer to no probe", sidecar=str(who[0]), instance=who[1])

    # -- one proof -----------------------------------------------------------------------------------------------------

    def _judged(self, proof: Proof, rows: Sequence[SidecarRow]) -> bool:
        """End a proof of which enough is known."""
        now = self._publisher.in_force
        service = now.topology.services.get(proof.target.service)
        # Some sidecars of the service run the trial of a rollout: what is to be refused is to be refused by both.
        policies = (now.policy,) if now.trial is None else (now.policy, now.trial)
        source = parse_workload(proof.source)
        forbidden = service is not None and all(forbids(each, source, service, proof.target.port) for each in policies)
        heard = any(row.connected and row.workload == str(proof.target.service) for row in rows)
        ended = judge(proof, self._clock_ms(), forbidden=forbidden, heard=heard)
        return ended is not None and self._end(proof, ended)

    def _end(self, proof: Proof, ended: Ended) -> bool:
        now_ms = self._clock_ms()
        after = replace(proof, status=ended.status, reason=ended.reason, ended_ms=now_ms)
        with self._store.transaction() as transaction:
            if not transaction.move_proof(proof, after):
                return False
            if after.status is Status.FAILED:
                detail: dict[str, object] = {
                    "proof": after.id, "port": after.target.port, "address": after.target.address, "source": after.source,
                    "revision": after.revision, "reason": after.reason,
                }  # fmt: skip
                transaction.add_audit(PICKET, "proof:failed", str(after.target.service), as_json(detail), now_ms)
        if after.status is Status.FAILED:
            _log.error(
                "ENFORCEMENT FAILED: a forbidden connection was not denied as it has to be",
                service=str(after.target.service), port=after.target.port, address=after.target.address, source=after.source,
                proof=after.id, reason=after.reason,
            )  # fmt: skip
        self._ended(after)
        return True

    def _taken(self, proof: Proof, free: Sequence[Who], listening: Collection[Who], rows: Sequence[SidecarRow]) -> Proof | None:
        """Give a proof to a sidecar that may try it; a different one each time, where there are several."""
        now = self._publisher.in_force
        service = now.topology.services.get(proof.target.service)
        if service is None or now.policy.mode(proof.target.service) not in ENFORCING:
            self._end(proof, Ended(Status.NOT_TRIED, f"{proof.target.service} drops nothing in its mode"))
            return None
        able = list(sources(now.policy, free, service, proof.target.port))
        if not able and any(sources(now.policy, listening, service, proof.target.port)):
            return None  # those that may are busy
        now_ms = self._clock_ms()
        if not able or not self._has_taken(service, rows):
            patience_ms = SHARED_PATIENCE_MS if self._store.is_shared else PATIENCE_MS
            if now_ms - proof.created_ms > patience_ms:
                lack = "its sidecars do not run what is in force" if able else self._lack(service, proof.target.port)
                self._end(proof, Ended(Status.NOT_TRIED, lack))
            return None
        workload, instance = able[proof.id % len(able)]
        mark = secrets.token_hex(16)
        after = replace(proof, status=Status.TRYING, source=str(workload), instance=instance, mark=mark, tried_ms=now_ms)
        with self._store.transaction() as transaction:
            return after if transaction.move_proof(proof, after) else None

    def _lack(self, service: Service, port: int) -> str:
        """Why nobody could try: everybody may call it, or those who may not are away."""
        now = self._publisher.in_force
        if any(forbids(now.policy, workload, service, port) for workload in now.topology.by_workload):
            return "no sidecar that may not call it is connected and willing to try"
        return "every workload may call it"

    # -- which proofs are to be --------------------------------------------------------------------------------------------

    def _ask_what_is_due(self, listening: Collection[Who]) -> None:
        now = self._publisher.in_force
        now_ms = self._clock_ms()
        if self._checked is not None and self._checked[0] is now and now_ms - self._checked[1] < IDLE_MS:
            return
        enforcing = [s for s in now.topology.services.values() if s.meshed and now.policy.mode(s.name) in ENFORCING]
        since_ms = now_ms if self._began else 0
        before, self._enforcing = self._enforcing, {}
        for service in enforcing:
            mode, known = now.policy.mode(service.name), before.get(service.name)
            self._enforcing[service.name] = known if known is not None and known[0] is mode else (mode, since_ms)
        self._began = True
        newest = {proof.target: proof for proof in self._store.newest_proofs()}
        due = {
            service: targets
            for service in enforcing
            if (targets := [t for t in targets_of(service) if self._is_due(t, newest.get(t), now.policy, service, listening)])
        }
        rows = self._store.sidecars() if due else ()
        settled = [target for service, targets in due.items() if self._has_taken(service, rows) for target in targets]
        self._proofs.add(settled, now.policy, PICKET)
        waits = sum(map(len, due.values())) > len(settled)
        self._checked = None if waits else (now, now_ms)

    def _is_due(self, target: Target, newest: Proof | None, policy: Policy, service: Service, listening: Collection[Who]) -> bool:
        if newest is None:
            return True
        if newest.is_open:
            return False
        if newest.revision < policy.of(target.service).revision or newest.created_ms < self._enforcing[target.service][1]:
            return True
        age_ms = self._clock_ms() - newest.created_ms
        if newest.status is Status.NOT_TRIED:
            # One that had nobody to try it waits for somebody, and not for a time.
            return (age_ms > RETRY_MS or not newest.source) and any(sources(policy, listening, service, target.port))
        return 0 < self._every_ms < age_ms

    def _has_taken(self, service: Service, rows: Sequence[SidecarRow]) -> bool:
        """Whether all connected sidecars of a service run what is in force."""
        own = [row for row in rows if row.connected and row.workload == str(service.workload)]
        try:
            snapshot = self._publisher.snapshot(service.workload) if own else None
        except CompileError:
            return False  # it is told in the log by whoever sends it
        return snapshot is not None and all(row.acked_version == snapshot.version and not row.nack_type for row in own)

    async def run(self, couriers: Couriers) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                for proof in await asyncio.to_thread(self.look, tuple(couriers.listening())):
                    couriers.send(proof, self._publisher.topology)
            except StoreError as error:
                _log.error("proofs not looked at", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)
