"""`picket prove`: has sidecars try what is forbidden, and shows whether it was denied and is in the log."""

from __future__ import annotations

import time
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, console, plural, short, show_json

_LOOK_SECONDS = 0.5
#: The control plane ends each try by itself before.
PATIENCE_SECONDS = 300.0
_OPEN = frozenset({"asked", "trying"})
_STYLES = {"proven": "green", "failed": "bold red", "not-tried": "yellow"}


@click.command("prove", short_help="Try what is forbidden; see that it is denied.")
@click.argument("services", nargs=-1, metavar="[SERVICE...]")
@click.option("--all", "every", is_flag=True, help="Try every service that enforces.")
@click.option("--revision", type=click.IntRange(0), metavar="N", help="Show all that was tried under policy revision N.")
@connected
def prove(session: Session, *, services: tuple[str, ...], every: bool, revision: int | None) -> None:
    """Show what is proved of the enforcement, or try it now for each SERVICE.

    A sidecar that may not call a service makes one harmless connection to each of its ports. It is proven when it was refused and
    the service's own sidecar has reported that. Picket does the same by itself after each change. Exit code 1 when something that
    is forbidden was let through, or denied and not reported, or when it could not be tried now.
    """
    if services and every:
        raise click.UsageError("name services, or say --all")
    if (services or every) and revision is not None:
        raise click.UsageError("--revision shows what was tried; name no services to try")
    asked = bool(services or every)
    found = _tried(session, services) if asked else session.get("/proofs", {"revision": revision})
    if session.output == "json":
        show_json(found)
    else:
        _show(found["proofs"])
    states = {item["status"] for item in found["proofs"]}
    if "failed" in states or (asked and states != {"proven"}):
        click.get_current_context().exit(1)


def _tried(session: Session, services: tuple[str, ...]) -> dict[str, Any]:
    """Ask, and wait until all of it has ended."""
    asked = session.post("/proofs", {"services": list(services)})
    wanted = {item["id"] for item in asked["proofs"]}
    since = time.monotonic()
    while True:
        found = session.get("/proofs", {"all": "true", "limit": 10_000})
        found["proofs"] = [item for item in found["proofs"] if item["id"] in wanted]
        if not any(item["status"] in _OPEN for item in found["proofs"]):
            return dict(found)
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise click.ClickException("it was not tried; see the control plane's log, and `picket prove`")
        time.sleep(_LOOK_SECONDS)


def _show(proofs: list[dict[str, Any]]) -> None:
    out = console()
    if not proofs:
        out.print("nothing was tried yet: services are, once they enforce")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("service", "at", "result", ">revision", "tried by", "when", "~about")
    for item in sorted(proofs, key=lambda item: (item["service"], item["port"], item["address"], -item["id"])):
        about = item["reason"] or (f"{item['deny_id']} ({item['told']}, violation {item['violation']})" if item["deny_id"] else "-")
        when = ago(item["ended_ms"]) if item["ended_ms"] else "now"
        status = cell(item["status"], _STYLES.get(item["status"], ""))
        listing.add(
            f"{short(item['service'])}:{item['port']}", item["address"], status, item["revision"], short(item["source"]) or "-",
            when, about,
        )  # fmt: skip
    listing.show(out)
    failed = sum(item["status"] == "failed" for item in proofs)
    if failed:
        out.print(cell(f"\nENFORCEMENT FAILED: {plural(failed, 'forbidden connection')} not denied as it has to be", "bold red"))
