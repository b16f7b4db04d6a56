"""`picket ca`: the mesh's certificate authority, how far its rotation is, and the steps that people take of it."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, clock, console, show_json, until

#: As much of a key's name as people compare.
_SHORT_ID = 16
_STYLES = {"active": "", "prepared": "yellow", "old": "yellow"}


@click.group("ca", short_help="Show the certificate authority, and rotate it.")
def ca() -> None:
    """Show the mesh's certificate authority, and rotate it.

    A rotation prepares (a new root is trusted), activates (the new one signs) and retires (the old root is not trusted any more).
    The control plane takes the steps by itself, each when it is safe, and begins before the authority ends.
    """


@ca.command("show")
@connected
def show(session: Session) -> None:
    """Show the trusted roots, and what the next step waits for."""
    found = session.get("/authority")
    if session.output == "json":
        show_json(found)
        return
    _show(found)


@ca.command("rotate", short_help="Begin a rotation, or take its next step.")
@click.option(
    "--step", type=click.Choice(["prepare", "activate", "retire"]), default="prepare", show_default=True,
    help="The step to take; later ones come by themselves.",
)  # fmt: skip
@click.option("--now", is_flag=True, help="Do not wait for sidecars that would be cut off by it; wants --reason.")
@click.option("--reason", "-m", default="", help="Why; it stands in the audit log.")
@connected
def rotate(session: Session, *, step: str, now: bool, reason: str) -> None:
    """Begin a rotation, or take its next step without waiting for the time that it has."""
    if now and not reason.strip():
        raise click.UsageError("--now wants --reason: it stands in the audit log")
    found = session.post("/authority/rotate", {"step": step, "now": now, "reason": reason})
    if session.output == "json":
        show_json(found)
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    out = console()
    listing = Listing("root", "state", "since", "ends", "~about")
    for root in found["roots"]:
        state = cell(root["state"], _STYLES.get(root["state"], ""))
        listing.add(root["id"][:_SHORT_ID], state, clock(root["since_ms"]), until(root["not_after_ms"]), _about(root))
    listing.show(out)
    out.print(cell(_next(found)))
    if found["outdated"] and found["next_step"] != "activate":  # that step says so itself
        out.print(cell(f"connected sidecars that lack a root of these: {found['outdated']} of {found['connected']}"))
    for name in found["late"]:
        out.print(cell(f"it waits for {name}"))


def _about(root: dict[str, Any]) -> str:
    if root["state"] == "old":
        return f"what it signed may be valid until {clock(root['signed_until_ms'])}"
    return "signs certificates" if root["state"] == "active" else "trusted, signs next"


def _next(found: dict[str, Any]) -> str:
    step = f"next: {found['next_step']}"
    if not found["waits_for"]:
        return f"{step}, now"
    if found["next_ms"] is not None:
        step += f", at {clock(found['next_ms'])}"
        step += " at the latest" if found["next_step"] == "activate" else ""
    return f"{step}; {found['waits_for']}"
