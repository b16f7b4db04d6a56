"""An incident with what people did about it, and how what is found anew joins what is known. Pure; reads no clock."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from controlplane.violations.incidents import QUIET_MS, Found


class Status(enum.StrEnum):
    """Whether somebody is done with it."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """A group of violations under a number. Times are Unix milliseconds; ``assignee`` is empty while it is nobody's."""

    id: int
    found: Found
    status: Status = Status.OPEN
    assignee: str = ""
    closed_ms: int | None = None
    closed_by: str = ""
    close_reason: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that somebody did about an incident, or wrote down. ``action`` is assign, close, reopen or note."""

    incident: int
    at_ms: int
    actor: str
    action: str
    text: str


def join(known: Iterable[Incident], found: Iterable[Found]) -> Iterator[Incident]:
    """What is to be stored: known incidents that grew, and new ones under the number 0.

    A group belongs to the known incident of its anchor whose time it meets. What was closed stays so while it merely goes on.
    """
    by_anchor: dict[str, list[Incident]] = {}
    for incident in known:
        by_anchor.setdefault(incident.found.anchor, []).append(incident)
    for group in found:
        same = [incident for incident in by_anchor.get(group.anchor, ()) if _meet(incident.found, group)]
        if not same:
            yield Incident(0, group)
            continue
        incident = max(same, key=lambda one: one.found.last_seen_ms)
        grown = _grown(incident.found, group)
        if grown != incident.found:
            yield replace(incident, found=grown)


def _meet(known: Found, group: Found) -> bool:
    return group.first_seen_ms <= known.last_seen_ms + QUIET_MS and group.last_seen_ms >= known.first_seen_ms - QUIET_MS


def _grown(known: Found, group: Found) -> Found:
    """The group, where it is the later view; it may not reach back as far as the known one, so nothing shrinks."""
    newer = group if group.last_seen_ms >= known.last_seen_ms else known
    return replace(
        newer,
        source_count=max(known.source_count, group.source_count),
        place_count=max(known.place_count, group.place_count),
        count=max(known.count, group.count),
        denied=max(known.denied, group.denied),
        first_seen_ms=min(known.first_seen_ms, group.first_seen_ms),
        last_seen_ms=max(known.last_seen_ms, group.last_seen_ms),
    )
