"""`picket sinks`: where violations and incidents go, and whether they arrive."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import show_json


@click.command("sinks", short_help="Where violations and incidents go, and whether they arrive.")
@connected
def sinks(session: Session) -> None:
    """Show each sink of --sinks: what was sent, what waits, and what was lost and why."""
    document = session.get("/sinks")
    if session.output == "json":
        show_json(document)
        return
    if not document["sinks"]:
        click.echo("No sinks: --sinks names a file of them to `picket controlplane`.")
    for one in document["sinks"]:
        counts = ", ".join(f"{one[name]} {name}" for name in ("sent", "waiting", "dropped", "failed"))
        click.echo(f"{one['name']}  {one['kind']}  {one['to']}  {one['state']}: {counts}")
        if one["last_error"] and one["state"] != "ok":
            click.echo(f"  {one['last_error']}")
