"""`picket owners`: who has to agree to edges toward which services."""

from __future__ import annotations

from pathlib import Path

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, plural, short, show_json


@click.group("owners", short_help="Show and check who has to agree to what.")
def owners() -> None:
    """Show and check the owners file: one of a service's owners has to agree to each edge toward it."""


@owners.command("list", short_help="Show the lines of the owners file in use.")
@connected
def show(session: Session) -> None:
    """List the lines of the control plane's owners file, and the services that each is about."""
    found = session.get("/owners")
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if found["four_eyes"]:
        out.print("two persons have to agree to each edge")
    if not found["lines"]:
        out.print("no service has owners: whoever may approve decides alone; `picket controlplane --owners FILE` names them")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(">line", "pattern", "~owners", "~services")
    for line in found["lines"]:
        names = ", ".join(map(short, line["services"])) or "none: later lines are about them, or there are none"
        listing.add(line["line"], line["pattern"], ", ".join(line["owners"]) or "nobody has to agree", names)
    listing.show(out)
    if found["unowned"]:
        out.print(cell(f"without owners: {', '.join(map(short, found['unowned']))}"))


@owners.command("check", short_help="Read an owners file, and say who owns a service.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("service", required=False)
def check(file: Path, service: str | None) -> None:
    """Read an owners FILE as the control plane would; with SERVICE, say who owns it."""
    from controlplane.policy.owners import OwnersError, read_owners  # noqa: PLC0415  # as above

    try:
        found = read_owners(file)
    except OwnersError as error:
        raise click.ClickException(str(error)) from error
    out = console()
    if service is not None:
        name = service if "/" in service else f"default/{service}"
        out.print(cell(f"{name}: {', '.join(found.of(name)) or 'nobody has to agree'}"))
        return
    people = {owner for line in found.lines for owner in line.owners}
    out.print(cell(f"{file}: {plural(len(found.lines), 'line')} about services, {plural(len(people), 'owner')}"))
