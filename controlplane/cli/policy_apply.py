"""What TrafficPolicy files would change in the policy in force, and doing so: `picket policy diff PATH` and `apply PATH`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controlplane.cli.approved import approved, read_folder, seen
from controlplane.cli.connection import Way
from controlplane.cli.findings import as_json, show_findings
from controlplane.cli.output import clean, match_text, plural, show_json
from controlplane.cli.written import as_sent
from controlplane.policy.applied import Applied, applied
from controlplane.policy.diff import diff_text
from controlplane.policy.rules import HttpMatch, Mode


def show_difference(way: Way, paths: Sequence[Path], *, prune: bool) -> None:
    """Compare files with the policy in force; exit code 1 when they do not read."""
    folder = read_folder(paths)
    if folder.findings:
        if way.output == "json":
            show_json({"findings": [as_json(finding) for finding in folder.findings]})
        else:
            show_findings(folder.findings)
        click.get_current_context().exit(1)
    found = seen(way, None)
    current, _ = approved(way, (), Mode.LEARN, found)
    made = applied(current, folder.documents, prune=prune)
    if way.output == "json":
        show_json(_json(made))
        return
    click.echo(f"revision {current.revision} to {plural(len(folder.documents), 'document')}: {_counted(made)}")
    for change in made.modes:
        click.echo(f"{clean(str(change.service))}\n  ~ mode {change.before} -> {change.after}")
    for line in diff_text(made.changes).splitlines():
        click.echo(clean(line))
    if made.unnamed and not prune:
        names = ", ".join(clean(str(name)) for name in made.unnamed)
        click.echo(f"no document, kept as they are: {names}", err=True)


def apply_files(way: Way, paths: Sequence[Path], *, prune: bool, about: Mapping[str, object]) -> Any:
    """Show what differs, and put it into force; what the control plane answers. ``about``: comment, reasons, stages."""
    session = way.session()
    expected = session.get("/policy")["revision"]
    if way.output != "json":
        show_difference(way, paths, prune=prune)
    body = {"files": as_sent(paths), "prune": prune, "expected": expected, **about}
    return session.post("/policy/apply", body)


def _counted(made: Applied) -> str:
    return plural(len(made.changes) + len(made.modes), "difference")


def _json(made: Applied) -> dict[str, object]:
    return {
        "modes": [{"service": str(c.service), "before": str(c.before), "after": str(c.after)} for c in made.modes],
        "changes": [
            {
                "service": str(change.service),
                "source": change.source,
                "port": change.port,
                "change": str(change.change),
                "before": _http(change.before),
                "after": _http(change.after),
            }
            for change in made.changes
        ],
        "unnamed": [str(name) for name in made.unnamed],
    }


def _http(matches: tuple[HttpMatch, ...] | None) -> list[str] | None:
    return None if matches is None else [match_text({"method": match.method, "path": match.path}) for match in matches]
