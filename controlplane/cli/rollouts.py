"""`picket rollout`: let services enforce in stages, see how far they are, and take one back."""

from __future__ import annotations

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

    listing = Listing(">#", "service", "stage", "status", "since", "by", "~about")
    for made in found["rollouts"]:
        stage = {"one": made["first"], "share": f"{made['share_percent']}%"}.get(made["stage"], "all")
        status = made["status"] if made["ended_ms"] is None else f"{made['status']} {ago(made['ended_ms'])}"
        waits = "" if made["taken_ms"] else "waits for sidecars to take it"
        about = made["reason"] or (waits if made["ended_ms"] is None else "") or "-"
        listing.add(made["id"], short(made["service"]), stage, status, clock(made["created_ms"]), made["actor"], about)
    listing.show(out)


@rollout.command("rollback", short_help="Take a rollout back, running or done.")
@click.argument("number", type=click.IntRange(1))
@connected
def rollback(session: Session, number: int) -> None:
    """Take rollout NUMBER back, running or done: the service has the mode that it had before."""
    found = session.post(f"/rollouts/{number}/rollback", {})
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))
