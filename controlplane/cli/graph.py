"""`picket map`: who talks to whom, and which of it is approved."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, asks_for, cell, console, plural, short, show_json


@click.command("map", short_help="Show who talks to whom.")
@click.argument("service", required=False)
@click.option("--new", "only_new", is_flag=True, help="Only edges that are not approved.")
@connected
def show_map(session: Session, service: str | None, *, only_new: bool) -> None:
    """Show the edges that were seen or are approved; with SERVICE, those from it and to it."""
    found = session.get("/map", {"service": service, "limit": 100_000})
    if only_new:
        found["edges"] = [edge for edge in found["edges"] if not edge["approved"]]
    if session.output == "json":
        show_json(found)
        return
    out = console()
    edges = found["edges"]
    approved = sum(1 for edge in edges if edge["approved"])
    out.print(f"revision {found['revision']}: {plural(len(edges), 'edge')}, {approved} approved")
    if not edges:
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("source", "", "destination", "~asks for", ">seen", "last", "approved", "mode")
    for edge in edges:
        listing.add(*_row(edge))
    listing.show(out)


def _row(edge: dict[str, Any]) -> list[Any]:
    return [
        short(edge["source"]),
        "→",
        f"{short(edge['destination'])}:{edge['port']}",
        asks_for(edge),
        edge["count"],
        ago(edge["last_seen_ms"]) if edge["learned"] else "never",
        cell("yes") if edge["approved"] else cell("no", "yellow"),
        edge["mode"],
    ]
