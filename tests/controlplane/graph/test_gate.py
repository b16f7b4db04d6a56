"""The promotion gate: ready, or why not; and what it takes to pass it all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.graph.gate import MAX_REASON, BadReason, Gate, NotReady, Override, Ready, judge, override
from controlplane.graph.readiness import Lack, Missing, Readiness
from controlplane.graph.unseen import Interval

FINE = Readiness("shop/cart", 20, 14, frozenset(range(7)), 168, 0, Interval(0, 0.2, 2), 1, 0.99, (), (), ())


def reasons(readiness: Readiness, gate: Gate | None = None) -> list[Lack]:
    verdict = judge(readiness, gate)
    return [missing.lack for missing in verdict.reasons] if isinstance(verdict, NotReady) else []


def test_a_service_that_lacks_nothing_is_ready() -> None:
    assert judge(FINE) == Ready("enforce now and expect 0-2 denials a day")


@pytest.mark.parametrize(
    ("changed", "lack", "text"),
    [
        (replace(FINE, full_days=5), Lack.DAYS, "whole days watched: 5, the gate wants 7"),
        (replace(FINE, gap_hours=7), Lack.GAPS, "hours without a report: 7, the gate takes 6"),
        (replace(FINE, denials_a_day=Interval(1, 3, 4)), Lack.DENIALS, "denials to expect a day: up to 4, the gate takes 3"),
        (replace(FINE, denials_a_day=None), Lack.DENIALS, "denials to expect a day: cannot be estimated yet, the gate takes 3"),
        (replace(FINE, missing=(Missing(Lack.RESTART, "no start"),)), Lack.RESTART, "no start"),
    ],
)
def test_what_is_missing_is_why_it_is_not_ready(changed: Readiness, lack: Lack, text: str) -> None:
    verdict = judge(changed)
    assert isinstance(verdict, NotReady)
    assert verdict.reasons == (Missing(lack, text),)
    assert verdict.subject == "shop/cart"


def test_a_gate_takes_what_it_does_not_need() -> None:
    poor = replace(FINE, full_days=0, gap_hours=99, denials_a_day=None, missing=(Missing(Lack.MONTH, ""), Missing(Lack.LOST, "")))
    assert reasons(poor) == [Lack.DAYS, Lack.GAPS, Lack.LOST, Lack.DENIALS]
    assert reasons(poor, Gate(needs=frozenset({Lack.MONTH}))) == [Lack.MONTH]
    assert judge(poor, Gate(needs=frozenset())) == Ready(poor.summary)


def test_short_gaps_are_taken() -> None:
    assert reasons(replace(FINE, gap_hours=6, missing=(Missing(Lack.GAPS, "6 hours"),))) == []


def test_passing_without_being_ready_keeps_the_reason_and_what_was_missing() -> None:
    verdict = judge(replace(FINE, full_days=1))
    assert isinstance(verdict, NotReady)
    passed = override(verdict, "ana", "  incident 4711: contain now ", 5)
    assert passed == Override(verdict, "ana", "incident 4711: contain now", 5)


@pytest.mark.parametrize("reason", ["", "   ok    ", "x" * (MAX_REASON + 1), "because\nof this"])
def test_a_reason_that_says_nothing_is_refused(reason: str) -> None:
    verdict = judge(replace(FINE, full_days=1))
    assert isinstance(verdict, NotReady)
    assert isinstance(override(verdict, "ana", reason, 5), BadReason)
