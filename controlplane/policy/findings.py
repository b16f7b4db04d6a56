"""What is wrong or doubtful in what people wrote, and where: the values that lint, test and check answer with. Never prints."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"  # it does not read, never works, or breaks what works
    WARNING = "warning"  # it works, and says more or less than was probably meant
    INFO = "info"  # worth knowing


#: From bad to harmless.
SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. ``key`` is the path of the key (``spec.rules[3].ports``), ``remedy`` what to do about it."""

    rule: str
    severity: Severity
    message: str
    place: Place
    key: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.place}: {self.severity}: {key}{self.message}{remedy} [{self.rule}]"


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By file and position, the worst first where they meet."""
    return tuple(sorted(findings, key=lambda found: (found.place, SEVERITIES.index(found.severity), found.rule, found.key)))


def fails(findings: Iterable[Finding], fail_on: Severity | None) -> bool:
    """Whether one of them is at least as bad as ``fail_on``; ``None`` lets everything pass."""
    return fail_on is not None and any(SEVERITIES.index(f.severity) <= SEVERITIES.index(fail_on) for f in findings)
