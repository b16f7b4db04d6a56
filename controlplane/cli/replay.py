"""`picket replay`: what an allow-list would have denied of what was used, by the hour as it was stored. Puts none into force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, console, moment, plural, short, show_json
from controlplane.cli.rows import in_query, only_rows


@click.command("replay", short_help="Show what a list would have denied of what was used.")
@click.option("--proposal", type=click.IntRange(1), help="With this proposal approved.")
@only_rows
@click.option("--revision", type=click.IntRange(1), help="With the list of this revision.")
@click.option(
    "--file", "files", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
    help="With this TrafficPolicy file, or those in this folder, applied; again for more.",
)  # fmt: skip
@click.option("--prune", is_flag=True, help="With --file: services without a document lose their rules.")
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="Of so many days.")
@connected
def replay(
    session: Session,
    *,
    proposal: int | None,
    rows: list[int] | None,
    revision: int | None,
    files: tuple[Path, ...],
    prune: bool,
    days: int,
) -> None:
    """Show how much of what was used in the last days would have been denied, had every service enforced the list in force.

    Or that of a proposal or some of its rows, of a revision, or of files before they are applied: nothing changes by that.
    """
    if sum((proposal is not None, revision is not None, bool(files))) > 1:
        raise click.UsageError("--proposal, --revision or --file, not several of them")
    if rows is not None and proposal is None:
        raise click.UsageError("--rows are those of a --proposal; say which")
    if prune and not files:
        raise click.UsageError("--prune is about services that no --file names")
    query: dict[str, str | int | None] = {"days": days}
    if files:
        from controlplane.cli.written import as_sent  # noqa: PLC0415  # `picket --help` does not pay for YAML

        condition = f"{files[0] if len(files) == 1 else plural(len(files), 'path')} applied"
        found = session.post("/replay", {"files": as_sent(files), "prune": prune, "days": days})
    elif proposal is not None:
        condition = f"{'' if rows is None else f'rows {in_query(rows)} of '}proposal {proposal} approved"
        found = session.get(f"/proposals/{proposal}/replay", query | {"rows": in_query(rows)})
    else:
        condition = "the list in force" if revision is None else f"revision {revision}"
        found = session.get("/replay" if revision is None else f"/policy/revisions/{revision}/replay", query)
    if session.output == "json":
        show_json(found)
    else:
        _show(found, condition, days)


def _show(found: Mapping[str, Any], condition: str, days: int) -> None:
    uses = found["allowed"] + found["denied"]
    out = console()
    out.print(cell(f"in the last {plural(days, 'day')}, {condition} would have denied {found['denied']} of {plural(uses, 'use')}"))
    if not found["complete"]:
        out.print("older ones were not read: there are too many")
    if not found["denied"]:
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    by_day = Listing("day", ">allowed", ">denied")
    for day, (allowed, denied) in _days(found["hours"]).items():
        by_day.add(day, allowed, denied)
    by_day.show(out)
    listing = Listing("source", "", "destination", "~denied", ">uses", "last", "reported")
    for one in found["refusals"]:
        asked = " ".join(filter(None, (one["protocol"], one["method"], one["path"])))
        destination = f"{short(one['destination'])}:{one['port']}"
        listing.add(short(one["source"]), "→", destination, asked, one["count"], ago(one["last_hour_ms"]), one["reported"])
    listing.show(out)


def _days(hours: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Allowed and denied of each day on this machine's clock."""
    days: dict[str, tuple[int, int]] = {}
    for hour in hours:
        day = moment(hour["at_ms"])[:10]
        allowed, denied = days.get(day, (0, 0))
        days[day] = allowed + hour["allowed"], denied + hour["denied"]
    return days
