"""`picket rollout`: let services enforce in stages, see how far they are, and take one back."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, clock, console, short, show_json
from controlplane.cli.words import parse_span


@click.group("rollout", short_help="Enforce in stages, and take it back.")
def rollout() -> None:
    """Enforce in stages: one sidecar, a share of them, all. A refused push or a spike of denials takes it back by itself."""


@rollout.command("start", short_help="Let services enforce, one sidecar first.")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.option("--share", default=20, type=click.IntRange(1, 99), show_default=True, metavar="PERCENT", help="The second stage.")
@click.option(
    "--hold",
    "seconds",
    default="60s",
    callback=parse_span,
    show_default=True,
    metavar="TIME",
    help="How long each stage is watched.",
)
@click.option("--max-denials", default=0, type=click.IntRange(0), show_default=True, help="More denied connections take it back.")
@click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")
@click.option("--override", metavar="REASON", default="", help="Why to enforce what is not ready; kept in the audit log.")
@connected
def start(
    session: Session, *, services: tuple[str, ...], share: int, seconds: int, max_denials: int, comment: str, override: str
) -> None:
    """Let one sidecar of each SERVICE enforce; the others follow in stages while it holds."""
    body: dict[str, object] = {
        "services": list(services), "share_percent": share, "hold_seconds": seconds, "max_denials": max_denials,
        "comment": comment, "override": override,
    }  # fmt: skip
    found = session.post("/rollouts", body)
    if session.output == "json":
        show_json(found)
        return
    for made in found["rollouts"]:
        console().print(
            cell(f"rollout {made['id']}: {short(made['service'])} enforces in {made['first']}, and goes on while it holds")
        )


@rollout.command("list")
@click.option("--all", "every", is_flag=True, help="Those that have ended, too.")
@connected
def show(session: Session, *, every: bool) -> None:
    """Show how far the rollouts are, and why one was taken back."""
    found = session.get("/rollouts", {"all": "true" if every else None})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["rollouts"]:
        out.print("there was never a rollout" if every else "no rollout is under way")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(">#", "service", "to", "stage", "status", "since", "by", "~about")
    for made in found["rollouts"]:
        running = f"paused by {made['paused_by']}" if made["paused_by"] else made["status"]
        status = running if made["ended_ms"] is None else f"{made['status']} {ago(made['ended_ms'])}"
        waits = "" if made["taken_ms"] else "waits for sidecars to take it"
        what = f"revision {made['revision']}" if made["revision"] else "enforce"
        about = made["reason"] or (waits if made["ended_ms"] is None else "") or "-"
        listing.add(made["id"], short(made["service"]), what, _stage(made), status, clock(made["created_ms"]), made["actor"], about)
    listing.show(out)


def _stage(made: dict[str, Any]) -> str:
    """The sidecars that have it."""
    return str({"one": made["first"], "share": f"{made['share_percent']}%"}.get(made["stage"], "all"))


@rollout.command("show", short_help="Show a rollout and its sidecars.")
@click.argument("number", type=click.IntRange(1))
@connected
def details(session: Session, number: int) -> None:
    """Show rollout NUMBER, and which sidecars are in its stage."""
    found = session.get(f"/rollouts/{number}")
    if session.output == "json":
        show_json(found)
        return
    out = console()
    made = found["rollouts"][0]
    what = f"revision {made['revision']} instead of {made['base']}" if made["revision"] else f"{short(made['service'])} to enforce"
    paused = f", paused by {made['paused_by']}" if made["paused_by"] and made["ended_ms"] is None else ""
    out.print(cell(f"rollout {made['id']}, {made['status']}{paused}: {what}, stage {_stage(made)}, by {made['actor']}"))
    watched = f"each stage is watched for {made['hold_seconds']} s; more than {made['max_denials']} new denials take it back"
    out.print(cell(made["reason"] or watched))
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # as above

    listing = Listing("workload", "instance", "in the stage", "state", ">revision")
    for item in found["sidecars"]:
        listing.add(short(item["workload"]), item["instance"], "yes" if item["staged"] else "", item["state"], item["revision"])
    listing.show(out)


@rollout.command("pause", short_help="Hold a rollout up in its stage.")
@click.argument("number", type=click.IntRange(1))
@connected
def pause(session: Session, number: int) -> None:
    """Hold rollout NUMBER up in its stage. A refused push or a spike of denials still takes it back."""
    _tell(session, number, "pause")


@rollout.command("resume", short_help="Let a rollout go on.")
@click.argument("number", type=click.IntRange(1))
@connected
def resume(session: Session, number: int) -> None:
    """Let rollout NUMBER go on."""
    _tell(session, number, "resume")


@rollout.command("stop", short_help="End a rollout where it is.")
@click.argument("number", type=click.IntRange(1))
@connected
def stop(session: Session, number: int) -> None:
    """End rollout NUMBER where it is: in the last stage all keep it, and before that the sidecars of its stage lose it."""
    _tell(session, number, "stop")


@rollout.command("rollback", short_help="Take a rollout back, running or done.")
@click.argument("number", type=click.IntRange(1))
@connected
def rollback(session: Session, number: int) -> None:
    """Take rollout NUMBER back: the service has the mode that it had before, or the revision is in force nowhere."""
    _tell(session, number, "rollback")


def _tell(session: Session, number: int, act: str) -> None:
    found = session.post(f"/rollouts/{number}/{act}", {})
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))
