"""`picket policy lint|fmt|schema`: TrafficPolicy files, without a control plane."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from controlplane.cli.findings import report, show_findings
from controlplane.cli.output import clean, plural, show_json
from controlplane.cli.reporting import Reporting
from controlplane.cli.written import named, read_topology, write_file, yaml_files
from controlplane.policy.findings import Finding, Severity
from controlplane.policy.lint.catalogue import INVALID, LINT_RULES
from controlplane.policy.lint.run import lint
from controlplane.policy.schemas import SCHEMAS
from controlplane.policy.traffic_text import format_text


def lint_files(
    told: Reporting, paths: Sequence[Path], topology: Path | None, ignore: Sequence[str], output: str, *, rules: bool
) -> None:
    """Check the files of some paths, or list the rules."""
    if rules:
        _show_rules(output)
        return
    known = {rule.name: rule.about for rule in LINT_RULES}
    unknown = sorted(set(ignore) - set(known) | set(ignore) & {INVALID.name})
    if unknown:
        raise click.UsageError(f"--ignore: {unknown[0][:60]!r} is no rule that can be left out; `--rules` lists them")
    if not paths:
        raise click.UsageError("name files or folders")
    files = named(yaml_files(paths))
    found = lint(files, datetime.datetime.now(datetime.UTC), read_topology(topology))
    kept = [finding for finding in found.findings if finding.rule not in ignore]
    report(told, output, kept, known, [name for name, _ in files], "picket policy lint", documents=len(found.documents))


def _show_rules(output: str) -> None:
    if output == "json":
        show_json({"rules": [{"rule": rule.name, "severity": str(rule.severity), "about": rule.about} for rule in LINT_RULES]})
        return
    width = max(len(rule.name) for rule in LINT_RULES)
    for rule in LINT_RULES:
        click.echo(f"{rule.name:{width}}  {rule.severity:7}  {rule.about}")


def format_files(paths: Sequence[Path], *, check: bool, diff: bool) -> None:
    """Write the files of some paths in canonical form, or tell which would change."""
    findings: list[Finding] = []
    changed = 0
    for path, body in yaml_files(paths):
        made = format_text(body, str(path))
        if isinstance(made, Finding):
            findings.append(made)
        elif made.encode() != body:
            changed += 1
            click.echo("".join(_difference(str(path), body, made)) if diff else clean(str(path)), nl=not diff)
            if not check and not diff:
                write_file(path, made)
    if findings:
        show_findings(findings)
    if changed:
        click.echo(f"{plural(changed, 'file')} {'would change' if check or diff else 'changed'}", err=True)
    if (check and changed) or any(finding.severity is Severity.ERROR for finding in findings):
        click.get_current_context().exit(1)


def _difference(name: str, body: bytes, made: str) -> Iterator[str]:
    before = body.decode("utf-8", "replace").splitlines(keepends=True)
    for line in difflib.unified_diff(before, made.splitlines(keepends=True), f"a/{name}", f"b/{name}"):
        yield clean(line.removesuffix("\n")) + "\n"


def show_schema(kind: str) -> None:
    """Print the schema of a kind of document."""
    show_json(SCHEMAS[kind]())
