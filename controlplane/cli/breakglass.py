"""`picket break-glass`: allow an edge at once and for a time, see what is allowed so, and end it."""

from __future__ import annotations

import click

from controlplane.cli.ask import noted
from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, clock, console, match_text, short, show_json, until
from controlplane.cli.review import show_published
from controlplane.cli.words import parse_destination, parse_span


@click.group("break-glass", short_help="Allow an edge at once, for a time and with a reason.")
def break_glass() -> None:
    """Allow an edge at once, for a time and with a reason. It goes back by itself; what was used then awaits review."""


@break_glass.command("grant")
@click.argument("source")
@click.argument("destination", metavar="DESTINATION:PORT")
@click.option(
    "--for", "seconds", required=True, callback=parse_span, metavar="TIME", help="How long: 90s, 30m or 2h; at most a day."
)
@click.option("--reason", "-m", required=True, help="Why; it stands in the audit log and beside the revision.")
@click.option("--ticket", default="", help="Where it is followed up.")
@click.option("--method", default="", help="Only requests with this method.")
@click.option("--path", default="", help="Only requests for this path; /a/* and /a/{id} work as in policies.")
@connected
def grant(session: Session, source: str, destination: str, seconds: int, reason: str, ticket: str, method: str, path: str) -> None:
    """Let SOURCE call DESTINATION:PORT for a time, beginning now.

    A host outside the mesh is external/HOST, as in external/bank.example:443; nobody has to have declared it.
    """
    name, port = parse_destination(destination)
    body: dict[str, object] = {
        "source": source, "destination": name, "port": port, "seconds": seconds, "reason": reason, "ticket": ticket,
        "http": [{"method": method, "path": path}] if method or path else [],
    }  # fmt: skip
    found = session.post("/break-glass", body)
    if session.output == "json":
        show_json(found)
        return
    made = found["grant"]
    ends = f"{short(made['source'])} -> {short(made['destination'])}:{made['port']}"
    end_in = until(made["expires_ms"])
    console().print(
        cell(f"exception {made['id']}: {ends} is allowed, revision {found['revision']}; it ends {end_in}{noted(found)}")
    )


@break_glass.command("list")
@click.option("--all", "every", is_flag=True, help="Those that have ended, too.")
@connected
def show(session: Session, *, every: bool) -> None:
    """Show what is allowed for a time now."""
    found = session.get("/break-glass", {"all": "true" if every else None})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["grants"]:
        out.print("nothing was ever allowed for a time" if every else "nothing is allowed for a time now")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(">#", "source", "", "destination", "~allows", "ends", "since", "by", "~reason", "ticket")
    for made in found["grants"]:
        destination = f"{short(made['destination'])}:{made['port']}"
        allows = ", ".join(match_text(match) for match in made["http"]) or "anything"
        ends = until(made["expires_ms"]) if made["ended_ms"] is None else f"ended {ago(made['ended_ms'])} by {made['ended_by']}"
        about = (made["actor"], made["reason"], made["ticket"] or "-")
        listing.add(made["id"], short(made["source"]), "→", destination, allows, ends, clock(made["created_ms"]), *about)
    listing.show(out)


@break_glass.command("end")
@click.argument("number", type=click.IntRange(1))
@connected
def end(session: Session, number: int) -> None:
    """Take exception NUMBER back now."""
    show_published(session, session.post(f"/break-glass/{number}/end", {}))
