"""Finds incidents in what is reported, and writes what people do about them. Stops nobody and allows nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from controlplane.flows.model import Violation
from controlplane.graph.reach import call_graph, distances
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import ViolationFilter
from controlplane.violations.handling import Incident, Note, Status, join
from controlplane.violations.incidents import AFTER_CHANGE_MS, QUIET_MS, Change, Surroundings, group
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Done, Refused, Why, as_json

#: How far back violations are grouped anew, and how many of the newest at most.
WINDOW_MS = 6 * 3_600_000
MAX_VIOLATIONS = 20_000
LOOK_SECONDS = 10.0
MAX_NOTES = 200
_log = structlog.get_logger("picket.incidents")


@dataclass(frozen=True, slots=True)
class Reached:
    """What a source can reach by approved edges, each with the number of calls it takes, nearest first."""

    source: str
    services: Mapping[str, int]


class Incidents:
    """The writer of incidents."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock_ms: Callable[[], int],
        heard: Callable[[Sequence[Incident], Sequence[Incident]], None] = lambda _begun, _grown: None,
    ) -> None:
        """``heard`` is told of incidents that are new and that grew, once they are stored."""
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._heard = heard
        self._newest: Violation | None = None

    def look(self) -> Sequence[Incident]:
        """Group what was reported of late; the incidents that are new or grew.

        Raises:
            StoreError: the database refused; it is looked at again the next time.
        """
        now_ms = self._clock_ms()
        newest = self._store.violations(ViolationFilter(since_ms=max(1, now_ms - WINDOW_MS)), 1)
        if not newest or newest[0] == self._newest:
            return ()
        violations = self._store.violations(ViolationFilter(since_ms=max(1, now_ms - WINDOW_MS)), MAX_VIOLATIONS)
        found = group(violations, self._surroundings(violations))
        since_ms = min(one.first_seen_ms for one in found) - QUIET_MS
        with self._store.transaction() as transaction:
            begun: list[Incident] = []
            grown: list[Incident] = []
            for incident in join(transaction.lock_incidents(since_ms), found):
                if incident.id:
                    transaction.grow_incident(incident.id, incident.found)
                    grown.append(incident)
                else:
                    begun.append(transaction.add_incident(incident))
        self._newest = newest[0]
        self._heard(begun, grown)
        return begun + grown

    def reach(self, incident: Incident) -> Sequence[Reached]:
        """What its sources can reach by approved edges."""
        graph = call_graph((source, callee) for source, callees in callees_of(self._publisher.policy).items() for callee in callees)
        return [Reached(source, distances(graph, source)) for source in incident.found.sources]

    def assign(self, number: int, assignee: str, actor: str) -> Done | Refused:
        """Give it to somebody, or with an empty name to nobody."""
        name = assignee.strip()
        return self._handle(number, "assign", name, actor, lambda incident, _now_ms: replace(incident, assignee=name))

    def close(self, number: int, reason: str, actor: str) -> Done | Refused:
        """Be done with it."""
        if not reason.strip():
            return Refused("closing an incident needs a reason", Why.INVALID)

        def closed(incident: Incident, now_ms: int) -> Incident | Refused:
            if incident.status is Status.CLOSED:
                return Refused(f"incident {number} is closed already, by {incident.closed_by}", Why.CONFLICT)
            return replace(incident, status=Status.CLOSED, closed_ms=now_ms, closed_by=actor, close_reason=reason.strip())

        return self._handle(number, "close", reason.strip(), actor, closed)

    def reopen(self, number: int, reason: str, actor: str) -> Done | Refused:
        """Take it up again."""

        def opened(incident: Incident, _now_ms: int) -> Incident | Refused:
            if incident.status is Status.OPEN:
                return Refused(f"incident {number} is open", Why.CONFLICT)
            return replace(incident, status=Status.OPEN, closed_ms=None, closed_by="", close_reason="")

        return self._handle(number, "reopen", reason.strip(), actor, opened)

    def note(self, number: int, text: str, actor: str) -> Done | Refused:
        """Write something down."""
        if not text.strip():
            return Refused("a note needs a text", Why.INVALID)
        return self._handle(number, "note", text.strip(), actor, lambda incident, _now_ms: incident)

    def _handle(
        self, number: int, action: str, text: str, actor: str, change: Callable[[Incident, int], Incident | Refused]
    ) -> Done | Refused:
        before = self._store.incident(number)
        if before is None:
            return Refused(f"there is no incident {number}", Why.MISSING)
        now_ms = self._clock_ms()
        after = change(before, now_ms)
        if isinstance(after, Refused):
            return after
        with self._store.transaction() as transaction:
            if not transaction.handle_incident(before, after):
                return Refused(f"somebody else did something about incident {number}; look at it and try again", Why.CONFLICT)
            transaction.add_note(Note(number, now_ms, actor, action, text))
            transaction.add_audit(actor, f"incident:{action}", f"incident {number}", as_json({"text": text}), now_ms)
        return Done(f"incident {number}: {action}")

    def _surroundings(self, violations: Iterable[Violation]) -> Surroundings:
        used = self._store.first_uses(violation.edge.source for violation in violations)
        return Surroundings(used, self._changes(), callees_of(self._publisher.policy))

    def _changes(self) -> list[Change]:
        """What was changed since shortly before the window: allow-lists and modes."""
        since_ms = self._clock_ms() - WINDOW_MS - AFTER_CHANGE_MS
        times = {number: at_ms for number, at_ms in self._store.revision_times().items() if at_ms >= since_ms}
        changes = [
            Change(times[policy.revision], str(name), f"revision {policy.revision}")
            for name, policy in self._publisher.policy.services.items()
            if policy.revision in times
        ]
        modes = (change for change in self._store.mode_changes() if change.at_ms >= since_ms and change.service is not None)
        return changes + [Change(change.at_ms, str(change.service), f"mode {change.mode}") for change in modes]

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreError as error:
                _log.error("violations not grouped", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)


def callees_of(policy: Policy) -> dict[str, set[str]]:
    """Whom each workload may call."""
    found: dict[str, set[str]] = {}
    for name, service in policy.services.items():
        for rule in service.rules:
            found.setdefault(str(rule.source), set()).add(str(name))
    return found
