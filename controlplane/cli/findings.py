"""How commands tell what they found: lines for people, JSON, SARIF and JUnit for tools, and the exit code. Finds nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from controlplane import __version__
from controlplane.cli.output import clean, plural, show_json
from controlplane.cli.reporting import Reporting
from controlplane.cli.written import write_file
from controlplane.policy.findings import SEVERITIES, Finding, Severity, fails
from controlplane.policy.reports.junit import Case, cases_of, junit
from controlplane.policy.reports.sarif import sarif

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def report(
    told: Reporting,
    output: str,
    findings: Sequence[Finding],
    about: Mapping[str, str],
    files: Iterable[str],
    suite: str,
    **more: object,
) -> None:
    """Tell everything, and end the command with 1 when it is bad enough. ``more`` goes into the JSON."""
    if told.sarif is not None:
        write_file(told.sarif, sarif(findings, about, __version__))
    if told.junit is not None:
        write_file(told.junit, junit(cases_of(findings, files, suite, told.fail_on)))
    if output == "json":
        show_json({"findings": [as_json(finding) for finding in findings], **more})
    else:
        show_findings(findings)
    if fails(findings, told.fail_on):
        click.get_current_context().exit(1)


def as_json(finding: Finding) -> dict[str, object]:
    """A finding for programs."""
    return {
        "rule": finding.rule, "severity": str(finding.severity), "message": finding.message, "file": finding.place.file,
        "line": finding.place.line, "column": finding.place.column, "key": finding.key, "remedy": finding.remedy,
    }  # fmt: skip


def show_findings(findings: Iterable[Finding]) -> None:
    """One line each, and how many there are."""
    counts: Counter[Severity] = Counter()
    for finding in findings:
        counts[finding.severity] += 1
        place, _, rest = str(finding).partition(f": {finding.severity}: ")
        click.echo(f"{clean(place)}: {click.style(finding.severity, fg=_COLOURS[finding.severity])}: {clean(rest)}")
    told = ", ".join(_counted(counts[severity], severity) for severity in SEVERITIES if counts[severity])
    click.echo(told or "no findings", err=True)


def _counted(count: int, severity: Severity) -> str:
    return f"{count} info" if severity is Severity.INFO else plural(count, severity)


def write_cases(file: Path | None, cases: Sequence[Case]) -> None:
    """Test results as JUnit XML, where a file is named."""
    if file is not None:
        write_file(file, junit(cases))
