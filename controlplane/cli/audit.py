"""`picket audit`: who did what to what."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import clock, console, show_json


@click.command("audit", short_help="Show who did what.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@connected
def audit(session: Session, limit: int) -> None:
    """Show approvals, rejections, modes, rollbacks and join tokens, newest first.

    A name with "(via token)" is what the caller called itself; one without is proved by the operating system.
    """
    found = session.get("/audit", {"limit": limit})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["events"]:
        out.print("nothing was done yet")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("when", "who", "what", "to", "~detail")
    for event in found["events"]:
        listing.add(clock(event["at_ms"]), event["actor"], event["action"], event["subject"], _detail(event["detail"]))
    listing.show(out)


def _detail(detail: Any) -> str:
    if not isinstance(detail, dict):
        return str(detail)
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value not in ("", None))
