"""What differs between two policies' rules, as values and as text for people. Pure; modes are kept apart from revisions."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controlplane.policy.rules import HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName


class Change(enum.StrEnum):
    """What became of a rule."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One source's rule for one port of one service, before and after; ``None`` where there is no such rule."""

    service: ServiceName
    source: str
    port: int
    before: tuple[HttpMatch, ...] | None
    after: tuple[HttpMatch, ...] | None

    @property
    def change(self) -> Change:
        """What became of it."""
        if self.before is None:
            return Change.ADDED
        return Change.REMOVED if self.after is None else Change.CHANGED


def diff(before: Policy, after: Policy) -> tuple[RuleChange, ...]:
    """Every difference, ordered by service, source and port."""
    return tuple(sorted(_changes(before, after), key=lambda change: (change.service, change.source, change.port)))


def _changes(before: Policy, after: Policy) -> Iterator[RuleChange]:
    for name in {*before.services, *after.services}:
        old, new = _by_peer(before.of(name).rules), _by_peer(after.of(name).rules)
        for key in {*old, *new}:
            if old.get(key) != new.get(key):
                yield RuleChange(name, *key, before=old.get(key), after=new.get(key))


def _by_peer(rules: Iterable[Rule]) -> dict[tuple[str, int], tuple[HttpMatch, ...]]:
    """The methods and paths per source and port; an empty tuple for whatever it sends."""
    found: dict[tuple[str, int], tuple[HttpMatch, ...]] = {}
    for rule in rules:
        key = (str(rule.source), rule.port)
        known = found.get(key)
        whole = not rule.http or HttpMatch() in rule.http or known == ()
        found[key] = () if whole else tuple(sorted({*(known or ()), *rule.http}))
    return found


def diff_text(changes: Iterable[RuleChange]) -> str:
    """The difference as lines: a service, and below it its rules with ``+``, ``-`` or, where only methods differ, ``~``."""
    lines: list[str] = []
    service: ServiceName | None = None
    for change in changes:
        if change.service != service:
            service = change.service
            lines.append(f"{service}")
        peer = f"{change.source} -> :{change.port}"
        if change.change is Change.ADDED:
            lines.append(f"  + {peer}  {_asked(change.after or ())}")
        elif change.change is Change.REMOVED:
            lines.append(f"  - {peer}  {_asked(change.before or ())}")
        else:
            lines.append(f"  ~ {peer}")
            lines.extend(f"      {mark} {text}" for mark, text in _parts(change.before or (), change.after or ()))
    return "".join(f"{line}\n" for line in lines)


def _asked(http: tuple[HttpMatch, ...]) -> str:
    return ", ".join(match_text(match) for match in http) if http else "anything"


def match_text(match: HttpMatch) -> str:
    """A method and a path as people write them."""
    return f"{match.method or 'any method'} {match.path or 'any path'}"


def _parts(before: tuple[HttpMatch, ...], after: tuple[HttpMatch, ...]) -> Iterator[tuple[str, str]]:
    """What a changed rule lost and won; a side without methods and paths lets everything pass."""
    if not before or not after:
        yield "-", _asked(before)
        yield "+", _asked(after)
        return
    for match in before:
        if match not in after:
            yield "-", match_text(match)
    for match in after:
        if match not in before:
            yield "+", match_text(match)
