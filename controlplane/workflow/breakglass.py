"""Break-glass: an edge is allowed at once, for a time and with a reason, and goes back by itself. Never stays by itself.

What was used of it is learned like anything else, so that when it ends it awaits review as a proposal; and so does what nobody
used (`graph.exceptions`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from controlplane.policy.approvals import Comment
from controlplane.policy.grants import Grant, allowed_before, ended, granted, is_held, lasting
from controlplane.policy.revise import rule_sets
from controlplane.policy.rules import AddressSource, Mode, Rule
from controlplane.store.interface import Store, StoreError, Transaction
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Act, Published, Refused, Revisions, Why
from controlplane.workflow.scopes import outside_edges

MAX_SECONDS = 24 * 3_600
LOOK_SECONDS = 1.0
#: More open at once is no emergency.
MAX_ACTIVE = 200
_log = structlog.get_logger("picket.breakglass")


class BreakGlass:
    """The writer of timed exceptions."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._revisions = Revisions(store, publisher, clock_ms)

    def grant(
        self, service: ServiceName, rule: Rule, seconds: int, reason: str, ticket: str, actor: str
    ) -> tuple[Grant, Published] | Refused:
        """Allow an edge for so many seconds."""
        if not 1 <= seconds <= MAX_SECONDS:
            return Refused(f"an exception lasts from 1 second to {MAX_SECONDS // 3600} hours", Why.INVALID)
        if not reason.strip():
            return Refused("an exception needs a reason", Why.INVALID)
        known = self._publisher.topology.services.get(service)
        if isinstance(rule.source, AddressSource) and (known is None or not known.meshed):
            return Refused(
                f"{service} has no sidecar, and who calls by an address alone has none either: nobody would obey; name a workload",
                Why.INVALID,
            )
        if (outside := outside_edges([(str(rule.source), str(service))])) is not None:
            return outside
        current = self._publisher.policy
        if current.mode(service) is Mode.QUARANTINE:
            return Refused(f"{service} is quarantined: nothing passes whatever is allowed; set another mode first", Why.CONFLICT)
        active = self._store.grants(MAX_ACTIVE, active=True)
        if len(active) >= MAX_ACTIVE:
            return Refused(f"{MAX_ACTIVE} exceptions are open; end some of them", Why.CONFLICT)
        rules = current.of(service).rules
        allowed = allowed_before(rules, rule)
        if is_held(rule, allowed):
            return Refused("that is allowed already", Why.CONFLICT)
        approved = lasting({service: rules}, [grant for grant in active if grant.service == service])
        before = allowed_before(approved[service], rule)
        now_ms = self._clock_ms()
        wanted = Grant(0, service, rule, before, reason, ticket, actor, now_ms, now_ms + seconds * 1000)
        made: list[Grant] = []

        edge = f"{rule.source} -> {service}:{rule.port}"

        def store(transaction: Transaction, _revision: int, at_ms: int) -> str:
            made.append(transaction.add_grant(wanted))
            # Who reviews what was used of it, when it has ended, sees at its row why that was.
            said = f"break-glass {made[-1].id}: {reason}{f' ({ticket})' if ticket else ''}"
            transaction.add_comment(Comment(0, edge, actor, said, at_ms))
            return ""

        detail: dict[str, object] = {"seconds": seconds, "reason": reason, "ticket": ticket}
        act = Act("break-glass:grant", edge, f"break-glass: {reason}", detail, store)
        done = self._revisions.publish(current, {**rule_sets(current), service: granted(rules, rule)}, actor, act)
        return done if isinstance(done, Refused) else (made[-1], done)

    def end(self, grant_id: int, actor: str) -> Published | Refused:
        """Take one back before its time."""
        found = next((grant for grant in self._store.grants(MAX_ACTIVE, active=True) if grant.id == grant_id), None)
        if found is None:
            return Refused(f"there is no open exception {grant_id}", Why.MISSING)
        if (outside := outside_edges([(str(found.rule.source), str(found.service))])) is not None:
            return outside
        return self._end(found, actor)

    def _end(self, grant: Grant, actor: str) -> Published | Refused:
        current = self._publisher.policy
        others = [other for other in self._store.grants(MAX_ACTIVE, active=True) if other.id != grant.id]
        wanted = {**rule_sets(current), grant.service: ended(current.of(grant.service).rules, grant, others)}

        def mark(transaction: Transaction, _revision: int, now_ms: int) -> str:
            return "" if transaction.end_grant(grant.id, actor, now_ms) else f"exception {grant.id} has ended"

        subject = f"{grant.rule.source} -> {grant.service}:{grant.rule.port}"
        act = Act("break-glass:end", subject, f"break-glass {grant.id} ends", {"grant": grant.id}, mark)
        return self._revisions.publish(current, wanted, actor, act)

    def end_expired(self) -> Sequence[Published | Refused]:
        """Take back all whose time is over.

        Raises:
            StoreError: the database refused; they stay open until it does not.
        """
        now_ms = self._clock_ms()
        over = [grant for grant in self._store.grants(MAX_ACTIVE, active=True) if grant.expires_ms <= now_ms]
        return [self._end(grant, "picket") for grant in reversed(over)]

    async def run(self) -> None:
        """Take back in time what is over, until cancelled; at the start, what ended while nobody looked."""
        while True:
            try:
                await asyncio.to_thread(self.end_expired)
            except StoreError as error:
                _log.error("exceptions not ended", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)


def settle(transaction: Transaction, grants: Iterable[Grant], actor: str, now_ms: int) -> None:
    """Write down what was decided of edges with open exceptions, newest first (`policy.grants.settled`).

    One whose edge is approved has ended. Another goes on under a new number, so that of each revision it stays known what was
    approved in it.
    """
    for grant in reversed(list(grants)):
        transaction.end_grant(grant.id, actor, now_ms)
        if not is_held(grant.rule, grant.before):
            transaction.add_grant(replace(grant, id=0, created_ms=now_ms))
