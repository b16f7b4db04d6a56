"""Who may try what, and what follows from what came of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.proofs import (
    ANSWER_MS,
    LOG_MS,
    MAX_TARGETS,
    Answer,
    Ended,
    Proof,
    Status,
    Target,
    forbids,
    judge,
    mark_of,
    server_name,
    sources,
    targets_of,
)
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName

NAME = ServiceName("shop", "cart")
CART = Service(NAME, Kind.SERVICE, (Port(7070, "grpc", 7070), Port(6379, "redis", 6379)), (), ("10.0.0.2", "10.0.0.3"))
WEB, ADS, SELF = WorkloadId("shop", "web"), WorkloadId("shop", "ads"), WorkloadId("shop", "cart")
TRIED = Proof(4, Target(NAME, 7070, "10.0.0.2"), 3, "picket", 5, Status.TRYING, "shop/ads", "ads-0", "a" * 32, tried_ms=1_000)
ANSWERED = replace(TRIED, told="HTTP 403", answered_ms=2_000)


def policy(mode: Mode, *rules: Rule, **modes: Mode) -> Policy:
    others = {ServiceName("shop", name): other for name, other in modes.items()}
    return Policy(3, {NAME: ServicePolicy(NAME, rules, 3)}, {NAME: mode, **others})


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.QUARANTINE])
def test_only_who_has_no_edge_at_all_may_try_what_enforces(mode: Mode) -> None:
    """One approved method is enough to be left out: the probe must be refused for want of an edge, and for nothing else."""
    given_ = policy(mode, Rule(WEB, 7070, (HttpMatch("GET", "/"),)), bad=Mode.QUARANTINE)
    assert forbids(given_, ADS, CART, 7070)
    assert not forbids(given_, WEB, CART, 6379)
    assert not forbids(given_, SELF, CART, 7070)
    assert not forbids(given_, WorkloadId("shop", "bad"), CART, 7070)
    assert not forbids(given_, ADS, CART, 1)
    listening = [(WEB, "web-0"), (ADS, "ads-1"), (ADS, "ads-0")]
    assert list(sources(given_, listening, CART, 7070)) == [(ADS, "ads-0"), (ADS, "ads-1")]


@pytest.mark.parametrize("mode", [Mode.LEARN, Mode.AUDIT])
def test_what_drops_nothing_is_not_tried(mode: Mode) -> None:
    assert not forbids(policy(mode), ADS, CART, 7070)


def test_each_port_of_each_sidecar_is_tried_up_to_a_bound() -> None:
    assert [(target.port, target.address) for target in targets_of(CART)] == [
        (6379, "10.0.0.2"), (6379, "10.0.0.3"), (7070, "10.0.0.2"), (7070, "10.0.0.3"),
    ]  # fmt: skip
    assert targets_of(replace(CART, kind=Kind.EXTERNAL)) == ()
    many = replace(CART, endpoints=tuple(f"10.0.1.{number}" for number in range(200)))
    assert len(targets_of(many)) == MAX_TARGETS
    alike = replace(CART, ports=(Port(80, "http", 8080), Port(81, "http", 8080)))
    assert {target.port for target in targets_of(alike)} == {80}, "as the sidecar takes it"


@pytest.mark.parametrize(
    ("proof", "now_ms", "status", "reason"),
    [
        (TRIED, 1_000 + ANSWER_MS, None, ""),
        (TRIED, 1_001 + ANSWER_MS, Status.NOT_TRIED, "shop/ads gave no answer"),
        (replace(ANSWERED, answer=Answer.UNREACHED, told="timed out"), 2_000, Status.NOT_TRIED, "not reached: timed out"),
        (replace(ANSWERED, answer=Answer.PASSED, told="HTTP 200", violation=7), 2_000, Status.FAILED, "let through: HTTP 200"),
        (replace(ANSWERED, answer=Answer.STRANGER, told="no TLS"), 2_000, Status.FAILED, "let through: no TLS"),
        (replace(ANSWERED, answer=Answer.REFUSED), 2_000 + LOG_MS, None, ""),
        (replace(ANSWERED, answer=Answer.REFUSED, violation=7), 2_000, Status.PROVEN, ""),
        (
            replace(ANSWERED, answer=Answer.REFUSED), 2_001 + LOG_MS, Status.FAILED,
            "refused (HTTP 403), but its sidecar reported no denial",
        ),
        (replace(ANSWERED, answer=Answer.OPEN, violation=7), 2_000, Status.PROVEN, ""),
        (replace(ANSWERED, answer=Answer.OPEN, told="stayed open"), 2_000 + LOG_MS, None, ""),
        (replace(ANSWERED, answer=Answer.OPEN, told="stayed open"), 2_001 + LOG_MS, Status.FAILED, "let through: stayed open"),
    ],
)  # fmt: skip
def test_it_is_proven_only_when_both_sides_say_so(proof: Proof, now_ms: int, status: Status | None, reason: str) -> None:
    ended = judge(proof, now_ms, forbidden=True)
    assert (None if ended is None else ended.status) is status
    assert (ended.reason if ended is not None else "") == reason


def test_a_sidecar_that_cannot_report_now_hides_nothing() -> None:
    """Its reports wait with it: that is no alarm, and no proof."""
    refused = replace(ANSWERED, answer=Answer.REFUSED)
    ended = judge(refused, 2_001 + LOG_MS, forbidden=True, heard=False)
    assert ended == Ended(Status.NOT_TRIED, "refused (HTTP 403), and its sidecar is away: its reports wait")
    opened = judge(replace(refused, answer=Answer.OPEN), 2_001 + LOG_MS, forbidden=True, heard=False)
    assert opened is not None
    assert opened.status is Status.FAILED


def test_what_is_allowed_by_now_was_not_let_through() -> None:
    ended = judge(replace(ANSWERED, answer=Answer.PASSED), 2_000, forbidden=False)
    assert ended is not None
    assert ended.status is Status.NOT_TRIED


@given(st.text())
def test_only_a_whole_mark_is_one(text: str) -> None:
    found = mark_of(text)
    assert found is None or server_name(found) == text
    assert mark_of(server_name("0af9" * 8)) == "0af9" * 8
    assert mark_of("x" + server_name("0af9" * 8)) is None
