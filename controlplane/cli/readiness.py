"""`picket readiness`: whether enough was seen of each service to enforce, and what is missing."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, plural, short, show_json


@click.command("readiness", short_help="Show if enough was learned to enforce, and what is missing.")
@click.argument("service", required=False)
@connected
def readiness(session: Session, service: str | None) -> None:
    """Show what is to be expected if services were enforced now; with SERVICE, all that is missing for it.

    The estimate is of what was not seen yet (Good-Turing, Chao2), from whole days that were watched. The gate before
    `picket mode SERVICE enforce` asks for the same. Exit code 1 when something is not ready.
    """
    found = session.get("/readiness", {"service": service})
    listed = found["services"]
    is_ready = all(item["ready"] for item in listed)
    if session.output == "json":
        show_json(found)
    elif service is not None:
        _details(listed[0])
    else:
        _table(found)
    if not is_ready:
        click.get_current_context().exit(1)


def _table(found: dict[str, Any]) -> None:
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    out = console()
    if not found["services"]:
        out.print("nothing was watched yet: start sidecars, and let them see traffic in mode learn")
        return
    listing = Listing("service", "ready", ">edges", ">days", "expected", "~missing")
    for item in found["services"]:
        missing = "; ".join(lack["text"] for lack in item["blocking"])
        ready = "yes" if item["ready"] else "no"
        listing.add(short(item["service"]), ready, item["edges"], item["full_days"], item["summary"], missing)
    listing.show(out)
    out.print()
    out.print(cell(f"all of them: {found['whole']['summary']}"))


def _details(item: dict[str, Any]) -> None:
    out = console()
    out.print(cell(f"{item['service']}: {'ready' if item['ready'] else 'not ready'}; {item['summary']}"))
    out.print(f"{plural(item['edges'], 'edge')} seen, {plural(item['full_days'], 'whole day')} watched")
    for lack in item["blocking"]:
        out.print(cell(f"  the gate wants: {lack['text']}"))
    for lack in item["missing"]:
        out.print(cell(f"  not seen yet: {lack['text']}"))
    for name, title in (("seen_once", "used on one day only:"), ("weekly", "used on one weekday only:")):
        if item[name]:
            out.print(title)
        for edge in item[name]:
            what = f"{edge['protocol']} {edge['method']} {edge['path']}".strip()
            out.print(cell(f"  {edge['source']} → {edge['destination']}:{edge['port']} {what}"))
