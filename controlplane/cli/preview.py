"""`picket preview`: what enforcement would deny of what is in use, and what an approval lets reach what."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, asks_for, cell, console, plural, short, show_json
from controlplane.cli.rows import in_query, only_rows

SHOWN_REACH = 10


@click.command("preview", short_help="Show what enforcement, or an approval, would do.")
@click.argument("number", type=click.IntRange(1), required=False)
@only_rows
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="Edges used within so many days.")
@connected
def preview(session: Session, number: int | None, rows: list[int] | None, days: int) -> None:
    """Show which edges in use would be denied if every service enforced the approved list.

    With NUMBER, if that proposal were approved; and which services come within reach of more workloads by that.
    """
    if rows is not None and number is None:
        raise click.UsageError("--rows are those of a proposal; say which")
    path = "/preview" if number is None else f"/proposals/{number}/preview"
    found = session.get(path, {"days": days, "rows": in_query(rows)})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    condition = "with what is approved now" if number is None else f"with proposal {number} approved"
    denied = found["denied"]
    out.print(
        f"{condition}, enforcement would deny {len(denied) or 'none'} of the {plural(found['edges'], 'edge')} used in the last "
        f"{plural(days, 'day')}"
    )
    if denied:
        from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

        listing = Listing("source", "", "destination", "~denied", ">seen", "last", "mode now")
        for edge in denied:
            destination = f"{short(edge['destination'])}:{edge['port']}"
            seen = (edge["count"], ago(edge["last_seen_ms"]), edge["mode"])
            listing.add(short(edge["source"]), "→", destination, asks_for(edge), *seen)
        listing.show(out)
    for change in found["reach"][:SHOWN_REACH]:
        out.print(cell(change["text"]))
    if len(found["reach"]) > SHOWN_REACH:
        out.print(f"and changes the reach of {len(found['reach']) - SHOWN_REACH} more; --output json shows all")
