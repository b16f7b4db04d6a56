"""Makes revisions: rules, what was decided by them and the audit event in one transaction, then the push. Decides nothing.

Expected refusals are values; the caller shows their reason.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from controlplane.policy.documents import PolicyTexts
from controlplane.policy.revise import RuleSets, changed_services, revise
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store, Transaction
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Publisher


class Why(enum.StrEnum):
    """What kind of refusal it is."""

    MISSING = "missing"  # the thing named is not there
    INVALID = "invalid"  # what is asked for cannot be
    FORBIDDEN = "forbidden"  # it is for others to decide
    CONFLICT = "conflict"  # it was decided or changed meanwhile


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing was done."""

    reason: str
    why: Why


@dataclass(frozen=True, slots=True)
class Published:
    """A new revision is in force; ``services`` are those that it changed. A ``staged`` one is on its way into force."""

    revision: int
    services: tuple[ServiceName, ...]
    staged: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """It is done, and nothing new is in force by it."""

    detail: str


@dataclass(frozen=True, slots=True)
class Act:
    """Why a revision is made, for the audit log.

    ``also`` writes what belongs to it, in its transaction, given the revision's number and the time; what it returns is the
    reason why somebody else was faster, empty when nobody was.
    """

    action: str
    subject: str
    note: str
    detail: dict[str, object]
    also: Callable[[Transaction, int, int], str] | None = None


class _LostRaceError(Exception):
    """Somebody else decided or published first; leaving the transaction by it undoes what was written."""


class Revisions:
    """The only maker of revisions."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._texts = PolicyTexts()

    def publish(
        self, current: Policy, wanted: RuleSets, actor: str, act: Act, *, instead_of: int | None = None, staged: bool = False
    ) -> Published | Refused:
        """Put rules into force, which were made from ``current``: the policy in force, unless it is ``instead_of`` that revision.

        A ``staged`` one is only stored; its rollouts, which ``act.also`` stores, bring it into force.
        """
        try:
            return self._commit(current, wanted, actor, act, current.revision if instead_of is None else instead_of, staged=staged)
        except _LostRaceError as error:
            self._publisher.refresh()
            return Refused(str(error), Why.CONFLICT)

    def _commit(self, current: Policy, wanted: RuleSets, actor: str, act: Act, instead_of: int, *, staged: bool) -> Published:
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            newest = next(iter(self._store.revisions(1)), None)
            number = (newest.number if newest else 0) + 1
            revised = revise(current, wanted, number)
            stored = transaction.add_revision(actor, act.note, self._texts.dump(revised), now_ms)
            # Whoever was faster added rules that ``wanted`` does not hold: writing it would take them away again.
            if stored.number != number or self._store.active_revision() != instead_of:
                raise _LostRaceError("another revision was published meanwhile; look at it and try again")
            if act.also is not None and (reason := act.also(transaction, number, now_ms)):
                raise _LostRaceError(reason)
            if not staged:
                transaction.set_active_revision(number)
            transaction.add_audit(actor, act.action, act.subject, as_json(act.detail | {"revision": number}), now_ms)
        self._publisher.refresh(revised)
        return Published(number, tuple(sorted(changed_services(current, revised))), staged)


def as_json(detail: dict[str, object]) -> str:
    """An audit event's detail."""
    return msgspec.json.encode(detail).decode()
