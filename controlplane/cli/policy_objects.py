"""`picket policy objects`: how the cluster's TrafficPolicy objects stand toward what is in force. Changes none of them."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, console, plural, short, show_json

#: How each state is told on a terminal, and whether somebody has to look.
_STYLES = {"in-force": "", "waiting": "", "differs": "yellow", "unkept": "yellow", "refused": "red", "conflict": "red"}


@click.command("objects", short_help="Show how TrafficPolicy objects stand.")
@click.option("--differing", is_flag=True, help="Only those that are not what is in force, or not known to be yet.")
@connected
def objects(session: Session, *, differing: bool) -> None:
    """Show the TrafficPolicy objects of the cluster: those that were put into force, and those that Picket wrote.

    What is not in force is told with the reason and what to do. In a cluster only.
    """
    found = session.get("/policy/objects")
    if differing:
        found["objects"] = [item for item in found["objects"] if item["state"] != "in-force"]
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["objects"]:
        out.print("every TrafficPolicy object is what is in force" if differing else "the cluster has no TrafficPolicy object")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("object", "service", "from", "state", ">revision", "~why")
    for item in found["objects"]:
        state = cell(item["state"], _STYLES.get(item["state"], "red"))
        origin = "Picket" if item["own"] else "the cluster"
        listing.add(item["object"], short(item["service"]), origin, state, item["revision"] or "-", item["reason"])
    listing.show(out)
    out.print(plural(len(found["objects"]), "object"))
