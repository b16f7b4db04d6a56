"""The promotion gate: whether a service may go to enforce, or why not, and how a person may pass it all the same. Pure.

Passing without being ready takes a reason, which is kept together with everything that was missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.graph.readiness import Lack, Missing, Readiness

MIN_REASON = 10
MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class Gate:
    """What a service needs. ``max_denials_a_day`` is held against the upper end of the estimate."""

    min_days: int = 7
    max_denials_a_day: int = 3
    max_gap_hours: int = 6
    needs: frozenset[Lack] = field(default=frozenset(Lack) - {Lack.MONTH, Lack.HOURS})


@dataclass(frozen=True, slots=True)
class Ready:
    """The service may be enforced."""

    summary: str


@dataclass(frozen=True, slots=True)
class NotReady:
    """The service should not be enforced yet, and why: never empty."""

    subject: str
    summary: str
    reasons: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """A person passed the gate: who, when, why, and what was missing then."""

    not_ready: NotReady
    actor: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class BadReason:
    """A reason that nobody could learn anything from."""

    text: str


def judge(readiness: Readiness, gate: Gate | None = None) -> Ready | NotReady:
    """Hold a service's readiness against the gate."""
    gate = gate or Gate()
    wanted = [missing for missing in readiness.missing if missing.lack in gate.needs - {Lack.DAYS, Lack.GAPS}]
    if Lack.DAYS in gate.needs and readiness.full_days < gate.min_days:
        wanted.append(Missing(Lack.DAYS, f"whole days watched: {readiness.full_days}, the gate wants {gate.min_days}"))
    if Lack.GAPS in gate.needs and readiness.gap_hours > gate.max_gap_hours:
        wanted.append(Missing(Lack.GAPS, f"hours without a report: {readiness.gap_hours}, the gate takes {gate.max_gap_hours}"))
    expected = readiness.denials_a_day
    if Lack.DENIALS in gate.needs and (expected is None or expected.high > gate.max_denials_a_day):
        said = "cannot be estimated yet" if expected is None else f"up to {expected.high:.0f}"
        wanted.append(Missing(Lack.DENIALS, f"denials to expect a day: {said}, the gate takes {gate.max_denials_a_day}"))
    if not wanted:
        return Ready(readiness.summary)
    return NotReady(readiness.subject, readiness.summary, tuple(sorted(wanted, key=lambda missing: list(Lack).index(missing.lack))))


def override(verdict: NotReady, actor: str, reason: str, at_ms: int) -> Override | BadReason:
    """Pass the gate for a reason."""
    kept = kept_reason(reason)
    return kept if isinstance(kept, BadReason) else Override(verdict, actor, kept, at_ms)


def kept_reason(text: str) -> str | BadReason:
    """A reason as it is kept, where somebody could learn something from it."""
    kept = text.strip()
    if not MIN_REASON <= len(kept) <= MAX_REASON or not kept.isprintable():
        return BadReason(f"write why, in {MIN_REASON} to {MAX_REASON} printable characters")
    return kept
