"""When a demo counts as clean, and what it shows."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console

from controlplane.api.proposal_schemas import ProposedEdge
from controlplane.api.schemas import HttpMatch, Violation
from controlplane.demo.progress import Progress
from controlplane.demo.report import BLOCKED_ROWS, MAX_FAILURES, Report, blocked_table, edges_table, summary

CLEAN = Report(
    edges_expected=2, edges_learned=2, expected_requests=3, unexpected_attempts=4, violations_recorded=4, bypass_attempts=1,
    bypass_recorded=1,
)  # fmt: skip
VIOLATION = Violation(
    id=1, source="default/web", destination="shop/a-service-with-a-long-name", port=8080, protocol="http", method="GET", path="/",
    verdict="denied", deny_id="deny:shop/a-service-with-a-long-name@r1", count=1, first_seen_ms=1, last_seen_ms=2,
    reporter="default/web", direction="out", host="", server_name="", peer_address="", reason="",
)  # fmt: skip


def shown(thing: object) -> str:
    """What a console of 100 columns shows."""
    file = io.StringIO()
    Console(file=file, width=100).print(thing)
    return file.getvalue()


def summarised(report: Report, *, ended_early: bool = False) -> str:
    """The summary's text."""
    file = io.StringIO()
    summary(report, Console(file=file, width=100), ended_early=ended_early)
    return file.getvalue()


def test_a_report_with_nothing_wrong_is_clean() -> None:
    """Every line has its tick."""
    assert CLEAN.clean
    assert "✗" not in summarised(CLEAN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges_missing": ["a -> b:1"]}, {"edges_extra": ["a -> b:1"]}, {"expected_failed": 1}, {"unexpected_delivered": 1},
        {"violations_recorded": 3}, {"bypass_delivered": 1}, {"bypass_recorded": 0}, {"failures": ["it broke"]},
    ],
    ids=str,
)  # fmt: skip
def test_one_thing_wrong_is_not_clean_and_shows(wrong: dict[str, object]) -> None:
    """Whatever it is."""
    report = replace(CLEAN, **wrong)  # type: ignore[arg-type]  # the cases name fields of Report
    assert not report.clean
    assert summarised(report).count("✗") == 1


def test_the_json_has_the_fields_as_keys() -> None:
    """Programs read it."""
    read = json.loads(replace(CLEAN, seconds={"start": 1.5}).json())
    assert read["edges_missing"] == []
    assert read["seconds"] == {"start": 1.5}


def test_a_demo_that_ended_early_claims_nothing() -> None:
    """No tick for what was never tried."""
    text = summarised(replace(CLEAN, failures=["no [bold] Envoy"]), ended_early=True)
    assert "✓" not in text
    assert "✗ no [bold] Envoy" in text


def test_many_failures_are_counted() -> None:
    """A screen has an end."""
    text = summarised(replace(CLEAN, failures=[f"failure {n}" for n in range(MAX_FAILURES + 3)]))
    assert text.count("✗") == MAX_FAILURES
    assert "and 3 more" in text


def test_edges_are_shown_with_what_they_ask_for() -> None:
    """gRPC by its methods' names, HTTP by method, anything else by protocol."""
    edges = [
        edge("grpc", HttpMatch("POST", "/a.B/Get"), HttpMatch("POST", "/a.B/Add")),
        edge("http", HttpMatch("GET", "")),
        edge("redis"),
        edge("grpc", *(HttpMatch("POST", f"/a.B/Method{n}") for n in range(9))),
    ]
    text = shown(edges_table(edges))
    for part in ("web", "shop/cart:1", "grpc Get, Add", "http GET", "redis", "grpc Method0 and 8 more"):
        assert part in text


def test_blocked_connections_are_some_of_all_with_their_deny_id() -> None:
    """From all over the log, and never what was only reported."""
    log = [violation(number) for number in range(100)]
    text = shown(blocked_table([*log, VIOLATION]))
    assert f"{BLOCKED_ROWS} of 101" in text
    assert text.count("deny:") == BLOCKED_ROWS
    assert "deny:shop/cart@r96" not in text
    assert "would-deny" not in shown(blocked_table([violation(1, "would-deny")]))


def test_a_deny_id_of_the_demo_is_on_one_line_of_a_log() -> None:
    name = "default/shoppingassistantservice"
    longest = msgspec.structs.replace(
        VIOLATION, source=name, destination="default/productcatalogservice", port=50051, deny_id=f"deny:{name}@r10/egress"
    )
    log = io.StringIO()
    Progress(log).console.print(blocked_table([longest]))
    assert longest.deny_id in log.getvalue()


def test_a_deny_id_is_never_cut() -> None:
    """People search for it: where it does not fit it goes on below."""
    long = msgspec.structs.replace(VIOLATION, source=f"default/{'s' * 50}", deny_id=f"deny:shop/{'d' * 60}@r12/egress")
    text = shown(blocked_table([long]))
    assert long.deny_id in "".join(text.split())


def violation(number: int, verdict: str = "denied") -> Violation:
    """One of many."""
    deny_id = f"deny:shop/cart@r{number}"
    return msgspec.structs.replace(VIOLATION, id=number, verdict=verdict, deny_id=deny_id, destination="shop/cart")


def edge(protocol: str, *http: HttpMatch) -> ProposedEdge:
    """One row of a proposal."""
    return ProposedEdge(
        row=1, source="default/web", destination="shop/cart", port=1, protocol=protocol, http=list(http), count=2, first_seen_ms=1,
        last_seen_ms=2, preselected=True, marks=[], source_role="default/web", destination_role="shop/cart", samples=None,
        removal="", asked=None, owners=[], source_owners=[], approvals=[], comments=[], lacks="", mine=False,
    )  # fmt: skip
