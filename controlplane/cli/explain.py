"""`picket explain`: what would become of a request, and by which rule."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, short, show_json
from controlplane.cli.words import parse_destination


@click.command("explain", short_help="Say what becomes of a request, and why.")
@click.argument("source")
@click.argument("destination", metavar="DESTINATION[:PORT]")
@click.argument("method", default="")
@click.argument("path", default="")
@connected
def explain(session: Session, source: str, destination: str, method: str, path: str) -> None:
    """Say what would become of a request from SOURCE to DESTINATION, by the policy in force, and which rule decides.

    SOURCE is a workload, or ip:ADDRESS for a caller without identity. Without PORT it is the service's first one.
    """
    name, port = parse_destination(destination) if ":" in destination else (destination, None)
    query = {"source": source, "destination": name, "port": port, "method": method, "path": path}
    found = session.get("/explain", query)
    if session.output == "json":
        show_json(found)
        return
    as_named = f" as {found['deny_id']}" if found["deny_id"] else ""
    request = f"{short(found['source'])} -> {short(found['destination'])}:{found['port']} {method} {path}".rstrip()
    console().print(cell(f"{request}: {found['verdict']}{as_named}"))
    console().print(cell(f"the sidecar of the {found['decided_by']} decides: {found['text']}"))
