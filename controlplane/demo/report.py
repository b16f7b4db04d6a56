"""What a demo found, as JSON and as the tables that it shows. Never measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controlplane.api.proposal_schemas import ProposedEdge
from controlplane.api.schemas import Violation

#: How many blocked connections are shown; all of them are in the log.
BLOCKED_ROWS = 12
MAX_ASKS = 30
MAX_FAILURES = 10


@dataclass(slots=True)
class Report:
    """The demo's result; the fields are the keys of the JSON report."""

    topology: str = ""
    capture: str = ""
    envoy_version: str = ""
    services: int = 0
    edges_expected: int = 0
    edges_learned: int = 0
    edges_missing: list[str] = field(default_factory=list)
    edges_extra: list[str] = field(default_factory=list)
    expected_requests: int = 0
    expected_failed: int = 0
    unexpected_attempts: int = 0
    unexpected_delivered: int = 0
    violations_recorded: int = 0
    bypass_attempts: int = 0
    bypass_delivered: int = 0
    bypass_recorded: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing missing or extra, nothing expected failed, nothing unexpected arrived, and every attempt is in the log."""
        return not (
            self.edges_missing
            or self.edges_extra
            or self.expected_failed
            or self.unexpected_delivered
            or self.bypass_delivered
            or self.failures
            or self.violations_recorded != self.unexpected_attempts
            or self.bypass_recorded != self.bypass_attempts
        )

    def json(self) -> bytes:
        """The report's file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def edges_table(edges: Sequence[ProposedEdge]) -> Table:
    """The learned graph, as it stands for review."""
    table = _table("Learned edges, for review", ("#", "source", "", "destination", "asks for", "seen"))
    for edge in edges:
        destination = f"{short(edge.destination)}:{edge.port}"
        table.add_row(str(edge.row), Text(short(edge.source)), "→", Text(destination), Text(_asks(edge)), str(edge.count))
    return table


def _asks(edge: ProposedEdge) -> str:
    if not edge.http:
        return edge.protocol
    is_grpc = edge.protocol == "grpc"
    names = [match.path.rpartition("/")[2] if is_grpc else f"{match.method} {match.path}".strip() for match in edge.http]
    shown = ", ".join(names)
    return f"{edge.protocol} {shown if len(shown) <= MAX_ASKS else f'{names[0]} and {len(names) - 1} more'}"


def blocked_table(log: Sequence[Violation]) -> Table:
    """Some of the blocked connections, from all over the log."""
    blocked = [violation for violation in log if violation.verdict == "denied"]
    step = max(1, len(blocked) // BLOCKED_ROWS)
    shown = blocked[::step][:BLOCKED_ROWS]
    title = f"Blocked connections, {len(shown)} of {len(blocked)}"
    table = _table(title, ("source", "  destination", "deny ID"))
    table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"  # a name to search for is never cut
    for violation in shown:
        destination = f"→ {short(violation.destination)}:{violation.port}"
        table.add_row(Text(short(violation.source)), Text(destination), Text(violation.deny_id))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in {"#", "seen"} else "left", no_wrap=True)
    return table


def short(name: str) -> str:
    """A name without the namespace that most have."""
    return name.removeprefix("default/")


def summary(report: Report, console: Console, *, ended_early: bool) -> None:
    """The result in a few lines; only why, where a demo ended before there was one."""
    good, bad = "[green]✓[/green]", "[red]✗[/red]"

    def line(fine: bool, text: str) -> None:  # noqa: FBT001  # a line's sign, beside its text
        console.print(f"  {good if fine else bad} {text}", highlight=False, soft_wrap=True)

    if not ended_early:
        _findings(report, line)
    for failure in report.failures[:MAX_FAILURES]:
        line(False, escape(failure))
    if len(report.failures) > MAX_FAILURES:
        console.print(f"    and {len(report.failures) - MAX_FAILURES} more", highlight=False)


def _findings(report: Report, line: Callable[[bool, str], None]) -> None:
    line(
        not report.edges_missing and not report.edges_extra,
        f"{report.edges_learned} of {report.edges_expected} declared edges learned, {len(report.edges_extra)} others",
    )
    line(not report.expected_failed, f"{report.expected_requests} expected requests, {report.expected_failed} failed")
    line(
        not report.unexpected_delivered,
        f"{report.unexpected_attempts} calls over pairs that are no edge, {report.unexpected_delivered} delivered",
    )
    line(
        report.violations_recorded == report.unexpected_attempts,
        f"{report.violations_recorded} of {report.unexpected_attempts} attempts are in the violation log",
    )
    line(not report.bypass_delivered and report.bypass_recorded == report.bypass_attempts,
         f"{report.bypass_attempts} calls around the own sidecar, with a stolen identity or none, "
         f"{report.bypass_delivered} delivered, {report.bypass_recorded} in the log")  # fmt: skip
