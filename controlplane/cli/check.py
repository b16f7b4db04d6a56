"""`picket check`: the gate in a service's pipeline. Exit code 0 when all is approved, 1 for findings, 2 when it cannot be said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from controlplane.cli.approved import approved as approved_policy
from controlplane.cli.approved import read_folder, seen
from controlplane.cli.ask import told as told_of
from controlplane.cli.connection import Way
from controlplane.cli.findings import report
from controlplane.cli.output import clean
from controlplane.cli.reporting import Reporting
from controlplane.cli.written import read_topology, yaml_files
from controlplane.policy.answers import Seen
from controlplane.policy.applied import applied
from controlplane.policy.findings import Finding, Place, Severity, in_order
from controlplane.policy.needs.check import ABOUT, Change, Missing, check_needs, check_removals, missing_edges
from controlplane.policy.needs.document import Needs, read_needs
from controlplane.policy.rules import Mode, Policy
from controlplane.topology.model import ServiceName

_DEFAULT = Path("picket.yaml")


def check_repository(
    told: Reporting,
    way: Way,
    paths: Sequence[Path],
    approved: Sequence[Path],
    change: Sequence[Path],
    usage: Path | None,
    days: int,
    topology: Path | None,
    link: str,
    *,
    prune: bool,
    propose: bool,
) -> None:
    """Hold what files declare, and what a change takes away, to what is approved and used; ``propose`` asks for what is missing."""
    declared = list(paths) or ([_DEFAULT] if _DEFAULT.exists() or not change else [])
    needs: list[Needs] = []
    findings: list[Finding] = []
    files: list[str] = []
    for path, body in yaml_files(declared):
        documents, wrongs = read_needs(body, str(path))
        needs += documents
        findings += wrongs
        files.append(str(path))
    found = seen(way, usage) if usage is not None or change or not approved else None
    policy, folder = approved_policy(way, approved, Mode.ENFORCE if approved else Mode.LEARN, found)
    findings += folder.findings
    known = read_topology(topology) or (found.topology if found is not None else None)
    if not folder.findings:
        findings += check_needs(needs, policy, known)
    if change and found is not None:
        more, changed = _change(policy, change, found, days, prune=prune)
        findings += more
        files += changed
    missing = [_json(edge) for edge in missing_edges(needs, policy)]
    if propose:
        _propose(way, missing, link)
    report(told, way.output, in_order(findings), ABOUT, files, "picket check", missing=missing)


def _propose(way: Way, missing: Sequence[dict[str, object]], link: str) -> None:
    """Ask for each; one that a person turned down stays a finding, and who did is told."""
    from controlplane.api.client import ApiError  # noqa: PLC0415  # only who connects pays for it

    session = way.session()
    for edge in missing:
        body = edge | {"reason": edge["reason"] or "declared in picket.yaml", "link": link}
        try:
            click.echo(clean(told_of(session.post("/asks", body))), err=True)
        except ApiError as error:
            click.echo(clean(f"{edge['source']} -> {edge['destination']}:{edge['port']}: {error}"), err=True)


def _json(edge: Missing) -> dict[str, object]:
    return {
        "source": str(edge.needs.workload),
        "destination": str(edge.need.destination),
        "port": edge.need.port,
        "protocol": edge.need.protocol,
        "http": [{"method": match.method, "path": match.path} for match in edge.http or edge.need.matches],
        "reason": edge.need.reason,
    }


def _change(policy: Policy, paths: Sequence[Path], found: Seen, days: int, *, prune: bool) -> tuple[list[Finding], tuple[str, ...]]:
    folder = read_folder(paths)
    if folder.findings:
        return list(folder.findings), folder.files
    places: dict[ServiceName, Place] = {document.service: document.place for document in folder.documents}
    after = applied(policy, folder.documents, prune=prune).policy
    change = Change(policy, after, places, str(paths[0]))
    findings = list(check_removals(change, found.uses, int(time.time() * 1000), days))
    if found.unread:
        message = f"{found.unread} used edges have names that no rule can hold; nothing is said about them"
        findings.append(Finding("unread-usage", Severity.INFO, message, Place(str(paths[0]))))
    return findings, folder.files
