"""`picket replay`: what an allow-list would have denied of what was used, by the hour as it was stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, console, moment, plural, short, show_json


@click.command("replay", short_help="Show what a list would have denied of what was used.")
@click.option("--proposal", type=click.IntRange(1), help="With this proposal approved.")
@click.option("--revision", type=click.IntRange(1), help="With the list of this revision.")
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="Of so many days.")
@connected
def replay(session: Session, proposal: int | None, revision: int | None, days: int) -> None:
    """Show how much of what was used in the last days would have been denied, had every service enforced the list in force."""
    if proposal is not None and revision is not None:
        raise click.UsageError("--proposal or --revision, not both")
    path, condition = "/replay", "the list in force"
    if proposal is not None:
        path, condition = f"/proposals/{proposal}/replay", f"proposal {proposal} approved"
    elif revision is not None:
        path, condition = f"/policy/revisions/{revision}/replay", f"revision {revision}"
    found = session.get(path, {"days": days})
    if session.output == "json":
        show_json(found)
        return
    uses = found["allowed"] + found["denied"]
    out = console()
    out.print(f"in the last {plural(days, 'day')}, {condition} would have denied {found['denied']} of {plural(uses, 'use')}")
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
