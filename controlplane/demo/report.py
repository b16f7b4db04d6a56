"""What a demo found, as JSON and as the tables that it shows. Never measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


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


def edges_table(edges: Sequence[Mapping[str, Any]]) -> Table:
    """The learned graph, as it stands for review."""
    table = Table(title="Learned edges, for review", title_justify="left", box=None, pad_edge=False)
    for name in ("#", "source", "", "destination", "asks for", "seen"):
        table.add_column(name, justify="right" if name in {"#", "seen"} else "left", no_wrap=True)
    for number, edge in enumerate(edges, 1):
        table.add_row(
            str(number), short(edge["source"]), "→", f"{short(edge['destination'])}:{edge['port']}",
            _asks(edge), str(edge["count"]),
        )  # fmt: skip
    return table


def _asks(edge: Mapping[str, Any]) -> str:
    http = edge.get("http") or []
    if not http:
        return str(edge["protocol"])
    methods = [f"{match.get('method', '')} {match.get('path', '')}".strip() for match in http]
    shown = methods[0] if edge["protocol"] != "grpc" else methods[0].rpartition("/")[2]
    return f"{edge['protocol']} {shown}" + (f" and {len(methods) - 1} more" if len(methods) > 1 else "")


def blocked_table(violations: Sequence[Mapping[str, Any]], limit: int = 12) -> Table:
    """The newest blocked connections."""
    title = f"Blocked connections ({min(limit, len(violations))} of {len(violations)})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("source", "", "destination", "asked for", "verdict", "deny ID"):
        table.add_column(name, no_wrap=True)
    for violation in violations[:limit]:
        asked = f"{violation.get('method', '')} {violation.get('path', '')}".strip() or violation["protocol"]
        table.add_row(
            short(violation["source"]), "→", f"{short(violation['destination'])}:{violation['port']}", asked[:34],
            violation["verdict"], violation["deny_id"],
        )  # fmt: skip
    return table


def short(name: str) -> str:
    """A name without the namespace that most have."""
    return name.removeprefix("default/")


def summary(report: Report, console: Console) -> None:
    """The result in a few lines."""
    good, bad = "[green]✓[/green]", "[red]✗[/red]"

    def line(fine: bool, text: str) -> None:  # noqa: FBT001  # a line's sign, beside its text
        console.print(f"  {good if fine else bad} {text}", highlight=False)

    line(not report.edges_missing and not report.edges_extra,
         f"{report.edges_learned} of {report.edges_expected} declared edges learned, {len(report.edges_extra)} others")
    line(not report.expected_failed, f"{report.expected_requests} expected requests, {report.expected_failed} failed")
    line(not report.unexpected_delivered,
         f"{report.unexpected_attempts} calls over pairs that are no edge, {report.unexpected_delivered} delivered")
    line(report.violations_recorded == report.unexpected_attempts,
         f"{report.violations_recorded} of {report.unexpected_attempts} attempts are in the violation log")
    line(not report.bypass_delivered and report.bypass_recorded == report.bypass_attempts,
         f"{report.bypass_attempts} calls around the own sidecar with a stolen identity, {report.bypass_delivered} delivered, "
         f"{report.bypass_recorded} in the log")  # fmt: skip
    for failure in report.failures[:10]:
        line(False, failure)
