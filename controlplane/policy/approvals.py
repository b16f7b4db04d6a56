"""Who has to agree before an edge goes into force, and who did. Pure; the owners file and the option of four eyes ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from controlplane.policy.actors import CLAIMANT, person
from controlplane.policy.traffic_policy import Lease

#: An approval from before does not count: what was known then may be known better.
APPROVAL_DAYS = 30
_EYES = 2


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody agreed to a question (`graph.rows.question_of`), with what they said for its lease; Unix milliseconds."""

    question: str
    actor: str
    at_ms: int
    lease: Lease = field(default_factory=Lease)


@dataclass(frozen=True, slots=True)
class Comment:
    """Somebody said something about an edge, approved or not; Unix milliseconds."""

    id: int
    edge: str
    actor: str
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Needed:
    """What an edge needs: one of its ``owners``, where it has any, and with ``four_eyes`` two persons.

    ``asker`` wanted the edge, if anybody did: with four eyes, nobody agrees to a wish of their own. ``keepers`` are users of
    the control plane's machine who can take its own token: they and all claims by it are one person.
    """

    owners: tuple[str, ...]
    four_eyes: bool
    asker: str = ""
    keepers: frozenset[str] = frozenset()

    def lacks(self, approvers: Iterable[str]) -> str:
        """What is still missing, in words; empty when it may go into force."""
        given = [actor for actor in approvers if not self._asked(actor)]
        missing = []
        if self.owners and not {person(actor) for actor in given}.intersection(self.owners):
            able = [owner for owner in self.owners if not self._asked(owner)]
            missing.append(f"{listed(able)}, who {'owns' if len(able) == 1 else 'own'} it" if able else self._nobody_left())
        if self.four_eyes and len({self._one(actor) for actor in given}) + bool(missing) < _EYES:
            missing.append("a second person" if given or missing else "two persons")
        return " and ".join(missing)

    def _asked(self, actor: str) -> bool:
        """Whether somebody would agree to a wish of their own, where that does not count."""
        return self.four_eyes and bool(self.asker) and self._one(actor) == self._one(self.asker)

    def _one(self, actor: str) -> str:
        name = person(actor)
        return CLAIMANT if name in self.keepers else name

    def _nobody_left(self) -> str:
        return f"an owner other than {person(self.asker)}, who asked for it"


def listed(names: Collection[str], most: int = 5) -> str:
    """Names as "alice, bob or carol"; of many the first few."""
    shown = sorted(names)[:most]
    if len(names) > most:
        return f"{', '.join(shown)} or {len(names) - most} others"
    return " or ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
