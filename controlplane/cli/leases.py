"""`picket leases`: who answers for each approved edge, until when, and when it was last used."""

from __future__ import annotations

import time

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, console, short, show_json, until
from controlplane.cli.words import parse_destination, parse_span


@click.group("leases", short_help="Show and renew who answers for approved edges.")
def leases() -> None:
    """Show and renew who answers for approved edges. One that is over, or long unused, is proposed for removal."""


@leases.command("list")
@click.option("--service", help="Only edges to this service.")
@click.option("--expiring", type=click.IntRange(0), metavar="DAYS", help="Only leases that end within so many days.")
@click.option("--unused", type=click.IntRange(0), metavar="DAYS", help="Only edges that were not used for so many days.")
@connected
def show(session: Session, service: str | None, expiring: int | None, unused: int | None) -> None:
    """List approved edges with their leases."""
    found = session.every("/leases", "leases", {"service": service, "expiring": expiring, "unused": unused})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["leases"]:
        out.print("no approved edge is like that")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("source", "", "destination", "owner", "ends", "last used", "approved", "by", "~reason", "ticket")
    for held in found["leases"]:
        destination = f"{short(held['destination'])}:{held['port']}"
        times = (until(held["expires_ms"]), ago(held["last_used_ms"]), ago(held["since_ms"]))
        about = (held["actor"] or "-", held["reason"], held["ticket"] or "-")
        listing.add(short(held["source"]), "→", destination, held["owner"] or "-", *times, *about)
    listing.show(out)


@leases.command("renew", short_help="Set the lease of an approved edge.")
@click.argument("source")
@click.argument("destination", metavar="DESTINATION:PORT")
@click.option("--owner", default="", help="Who answers for it.")
@click.option("--reason", "-m", required=True, help="Why it is still needed.")
@click.option("--ticket", default="", help="Where it is followed up.")
@click.option(
    "--expires", metavar="TIME", callback=parse_span, help="When it is to be looked at again, such as 90d; no end when left out."
)
@connected
def renew(session: Session, source: str, destination: str, owner: str, reason: str, ticket: str, expires: int | None) -> None:
    """Set the lease of the approved edge from SOURCE to DESTINATION:PORT, in place of the one before."""
    name, port = parse_destination(destination)
    body: dict[str, object] = {
        "source": source, "destination": name, "port": port, "owner": owner, "reason": reason, "ticket": ticket,
    }  # fmt: skip
    if expires is not None:
        body["expires_ms"] = round((time.time() + expires) * 1000)
    found = session.put("/leases", body)
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))
