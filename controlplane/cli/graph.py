"""`picket map`: who talks to whom, and which of it is approved; as a table, or drawn into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, asks_for, cell, console, plural, short, show_json


@click.command("map", short_help="Show who talks to whom.")
@click.argument("service", required=False)
@click.option("--new", "only_new", is_flag=True, help="Only edges that are not approved.")
@click.option(
    "--format",
    "drawn",
    type=click.Choice(["table", "dot", "mermaid", "graphml", "json", "svg"]),
    default="table",
    show_default=True,
    help="A table, or a drawing: Graphviz, Mermaid, GraphML, nodes and lines as JSON, SVG.",
)
@click.option("--namespace", help="With a drawing: only what is from or to a namespace.")
@click.option("--file", "-f", type=click.Path(path_type=Path, dir_okay=False), help="With a drawing: write it there.")
@connected
def show_map(
    session: Session, service: str | None, *, only_new: bool, drawn: str, namespace: str | None, file: Path | None
) -> None:
    """Show the edges that were seen or are approved; with SERVICE, those from it and to it."""
    if drawn != "table":
        if only_new:
            raise click.UsageError("--new goes with the table: a drawing shows what is not approved as such")
        _draw(session.get("/map/picture", {"format": drawn, "service": service, "namespace": namespace}), session, file)
        return
    if namespace or file:
        raise click.UsageError("--namespace and --file go with a drawing: say --format dot, mermaid, graphml, json or svg")
    found = session.every("/map", "edges", {"service": service, "limit": 100_000})
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


def _draw(found: dict[str, Any], session: Session, file: Path | None) -> None:
    if file is not None:
        try:
            file.write_text(found["content"], encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from error
        if session.output == "json":
            show_json({"file": str(file), "revision": found["revision"], "format": found["format"]})
        return
    if session.output == "json":
        show_json(found)
    else:
        click.echo(found["content"].rstrip("\n"))


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
