"""Who has to agree before an edge goes into force, and who did. Pure; the owners file and the option of four eyes ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from controlplane.policy.actors import person

#: An approval from before does not count: what was known then may be known better.
APPROVAL_DAYS = 30
_EYES = 2


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody agreed to a question (`graph.rows.question_of`); Unix milliseconds."""

    question: str
    actor: str
    at_ms: int


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

    ``asker`` wanted the edge, if anybody did: with four eyes, nobody agrees to a wish of their own.
    """

    owners: tuple[str, ...]
    four_eyes: bool
    asker: str = ""

    def lacks(self, approvers: Iterable[str]) -> str:
        """What is still missing, in words; empty when it may go into force."""
        given = {person(actor) for actor in approvers}
        if self.four_eyes and self.asker:
            given.discard(person(self.asker))
        missing = []
        if self.owners and not given.intersection(self.owners):
            missing.append(f"{listed(self.owners)}, who {'owns' if len(self.owners) == 1 else 'own'} it")
        if self.four_eyes and len(given) + bool(missing) < _EYES:
            missing.append("a second person" if given or missing else "two persons")
        return " and ".join(missing)


def listed(names: Collection[str], most: int = 5) -> str:
    """Names as "alice, bob or carol"; of many the first few."""
    shown = sorted(names)[:most]
    if len(names) > most:
        return f"{', '.join(shown)} or {len(names) - most} others"
    return " or ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
