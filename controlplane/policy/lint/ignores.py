"""Comments that silence findings: ``# picket: ignore[rule, ...] reason``, on the line or above it.

What keeps a file from being read is never silenced, and neither is anything without a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controlplane.policy.findings import Finding, Place
from controlplane.policy.lint import catalogue
from controlplane.policy.written.comments import comments_of
from controlplane.policy.written.source import Source

_IGNORE = re.compile(r"#\s*picket:\s*ignore\[([a-z0-9-]+(?:\s*,\s*[a-z0-9-]+)*)\]\s*(.*)\Z")


@dataclass(frozen=True, slots=True)
class Ignore:
    """One comment: which rules it silences, why, and on which line."""

    rules: frozenset[str]
    reason: str
    line: int
    place: Place


def ignores_in(source: Source) -> tuple[Ignore, ...]:
    """The comments of a file that silence something."""
    if "picket:" not in source.text:
        return ()
    lines = source.text.split("\n")
    found: list[Ignore] = []
    for comment in comments_of(source):
        match = _IGNORE.match(comment.text)
        if match is not None:
            line = _next_line(lines, comment.line) if comment.alone else comment.line
            rules = frozenset(name.strip() for name in match[1].split(","))
            found.append(Ignore(rules, match[2].strip(), line, Place(source.file, comment.line, comment.column)))
    return tuple(found)


def _next_line(lines: list[str], line: int) -> int:
    """The first line after this one that is more than a comment; lines count from 1."""
    following = line + 1
    while following <= len(lines) and (not lines[following - 1].strip() or lines[following - 1].lstrip().startswith("#")):
        following += 1
    return following


def silence(findings: Iterable[Finding], ignores: Iterable[Ignore]) -> Iterator[Finding]:
    """The findings that stay, and what is wrong with the comments themselves."""
    used: set[tuple[Place, str]] = set()
    by_line: dict[tuple[str, int], list[Ignore]] = {}
    listed = list(ignores)
    for ignore in listed:
        by_line.setdefault((ignore.place.file, ignore.line), []).append(ignore)
    for finding in findings:
        hit = [i for i in by_line.get((finding.place.file, finding.place.line), ()) if finding.rule in i.rules]
        used |= {(ignore.place, finding.rule) for ignore in hit}
        if finding.rule == catalogue.INVALID.name or not any(ignore.reason for ignore in hit):
            yield finding
    for ignore in listed:
        if not ignore.reason:
            yield catalogue.BARE_IGNORE.found(ignore.place, "a reason is missing", remedy="write it behind the bracket")
        for rule in sorted(ignore.rules):
            if (ignore.place, rule) not in used:
                yield catalogue.UNUSED_IGNORE.found(ignore.place, f"{rule} is not found here", remedy="remove it")
