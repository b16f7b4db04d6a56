"""`picket policy test`: expectations, evaluated offline against TrafficPolicy files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from controlplane.cli.findings import as_json, show_findings, write_cases
from controlplane.cli.listing import Listing
from controlplane.cli.output import cell, clean, console, plural, short, show_json
from controlplane.cli.written import named, read_topology, yaml_files
from controlplane.policy.expectations.document import Expectations, read_expectations
from controlplane.policy.expectations.run import Outcome, junit_cases, run
from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.reports.junit import Case
from controlplane.policy.traffic_documents import policy_of, read_documents
from controlplane.topology.model import Topology


def test_files(
    paths: Sequence[Path], policy: Sequence[Path], topology: Path | None, junit: Path | None, output: str, *, show_all: bool
) -> None:
    """Evaluate the tests in the files of some paths."""
    known = read_topology(topology)
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    for path, body in yaml_files(paths):
        documents, wrongs = read_expectations(body, str(path))
        findings += wrongs
        for document in documents:
            more, results = _run(path, document, policy, known)
            findings += more
            outcomes += results
    broken = [Case("picket policy test", str(f.place), f.place.file, f.place.line, str(f), broken=True) for f in findings]
    write_cases(junit, [*junit_cases(outcomes), *broken])
    if output == "json":
        show_json({"outcomes": [_json(outcome) for outcome in outcomes], "findings": [as_json(finding) for finding in findings]})
    else:
        _show(outcomes, findings, show_all=show_all)
    if findings or not outcomes or not all(outcome.met for outcome in outcomes):
        click.get_current_context().exit(1)


def _run(
    file: Path, document: Expectations, policy_paths: Sequence[Path], topology: Topology | None
) -> tuple[list[Finding], list[Outcome]]:
    where = policy_paths or tuple(Path(os.path.normpath(file.parent / name)) for name in document.policy)
    if not where:
        message = "names no policy"
        return [Finding("no-policy", Severity.ERROR, message, Place(str(file)), "policy", "add policy: [...], or say --policy")], []
    readings = [read_documents(body, name) for name, body in named(yaml_files(where))]
    findings = [finding for reading in readings for finding in reading.findings]
    if findings:
        return findings, []  # what does not read could be what a case is about
    documents = [found for reading in readings for found in reading.documents]
    policy = policy_of(documents, default_mode=document.mode)
    return [], list(run(document.cases, policy, documents, topology))


def _json(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.case.name, "file": outcome.case.place.file, "line": outcome.case.place.line, "from": str(outcome.source),
        "to": str(outcome.case.destination), "port": outcome.case.port, "method": outcome.sent.method, "path": outcome.sent.path,
        "expected": outcome.case.verdict, "verdict": outcome.verdict, "met": outcome.met, "why": outcome.why,
    }  # fmt: skip


def _show(outcomes: Sequence[Outcome], findings: Sequence[Finding], *, show_all: bool) -> None:
    shown = [outcome for outcome in outcomes if show_all or not outcome.met]
    if shown:
        listing = Listing("", "case", "from", "", "to", "~request", "expected", "is", "~because")
        for outcome in shown:
            mark = cell("ok", "green") if outcome.met else cell("FAIL", "red")
            to = f"{short(str(outcome.case.destination))}:{outcome.case.port}"
            listing.add(
                mark, clean(outcome.case.name or f"line {outcome.case.place.line}"), short(str(outcome.source)), "→", to,
                str(outcome.sent), outcome.case.verdict, outcome.verdict, outcome.why,
            )  # fmt: skip
        listing.show(console())
    if findings:
        show_findings(findings)
    met = sum(outcome.met for outcome in outcomes)
    click.echo(f"{met} of {plural(len(outcomes), 'expectation')} met", err=True)
