"""`picket mode`: what becomes of flows that no rule allows, per destination service."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, short, show_json

MODES = ("learn", "audit", "enforce", "quarantine")


@click.command("mode", short_help="Show or set services' modes.")
@click.argument("words", nargs=-1, metavar="[SERVICE... MODE]")
@click.option("--all", "every", is_flag=True, help="Set the mode of every service.")
@click.option("--yes", is_flag=True, help="Quarantine everything without asking.")
@click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")
@click.option("--override", metavar="REASON", default="", help="Why to enforce what is not ready; kept in the audit log.")
@connected
def mode(session: Session, words: tuple[str, ...], *, every: bool, yes: bool, comment: str, override: str) -> None:
    """Show the modes, or set the MODE of services: learn, audit, enforce or quarantine.

    learn lets everything pass and learns from it; audit lets it pass and reports what is not approved; enforce drops and
    reports it; quarantine drops everything, in and out. Before enforce, a service has to be ready: `picket readiness` says why not.
    """
    if not words and not every:
        _show(session)
        return
    wanted = words[-1] if words else ""
    services = words[:-1]
    if wanted not in MODES:
        raise click.UsageError(f"{wanted or 'nothing'!r} is no mode; the last word is one of {', '.join(MODES)}")
    if every == bool(services):
        raise click.UsageError("name services before the mode, or say --all")
    if every and wanted == "quarantine" and not yes:
        click.confirm("Quarantine cuts every service off from every other. Do it?", abort=True, err=True)
    body: dict[str, object] = {"all": True} if every else {"services": list(services)}
    found = session.put("/modes", {"mode": wanted, "comment": comment, "override": override} | body)
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))


def _show(session: Session) -> None:
    found = session.get("/modes")
    if session.output == "json":
        show_json(found)
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("service", "mode", "")
    for item in found["services"]:
        listing.add(short(item["service"]), item["mode"], cell("default" if item["is_default"] else "", "dim"))
    listing.show(console())
