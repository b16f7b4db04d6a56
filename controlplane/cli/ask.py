"""`picket ask`: ask for an edge that is needed, so that it stands in the open proposal."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, short, show_json
from controlplane.cli.words import parse_destination


@click.command("ask", short_help="Ask for an edge, seen or not, so that it is reviewed.")
@click.argument("source")
@click.argument("destination", metavar="DESTINATION:PORT")
@click.option("--reason", "-m", required=True, help="Why it is needed; reviewers see it.")
@click.option("--link", default="", help="Where it is discussed, such as a pull request.")
@click.option("--method", default="", help="Only requests with this method.")
@click.option("--path", default="", help="Only requests for this path; /a/* and /a/{id} work as in policies.")
@click.option("--protocol", default="", help="What is spoken there.")
@click.option("--again", is_flag=True, help="Also when it was rejected before.")
@connected
def ask(
    session: Session, source: str, destination: str, reason: str, link: str, method: str, path: str, protocol: str, *, again: bool
) -> None:
    """Ask that SOURCE may call DESTINATION:PORT. It is approved by nobody but a reviewer."""
    name, port = parse_destination(destination)
    body: dict[str, object] = {
        "source": source, "destination": name, "port": port, "reason": reason, "link": link, "protocol": protocol, "again": again,
        "http": [{"method": method, "path": path}] if method or path else [],
    }  # fmt: skip
    found = session.post("/asks", body)
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(told(found)))


def told(found: dict[str, Any]) -> str:
    """What became of a wish, in a line."""
    wish = found["ask"]
    if wish is None:
        return "it is approved already"
    ends = f"{short(wish['source'])} -> {short(wish['destination'])}:{wish['port']}"
    if found["state"] == "waiting":
        return f"{ends} is asked for already, by {wish['actor']}; it awaits review{noted(found)}"
    return f"{ends} is asked for; it awaits review{noted(found)}"


def noted(found: dict[str, Any]) -> str:
    """What the control plane has to tell beside, in brackets."""
    return f" ({found['note']})" if found.get("note") else ""
