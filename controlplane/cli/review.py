"""`picket proposals`, `picket approve` and `picket reject`: the review of what was learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import cell, clock, console, plural, short, show_json, spans
from controlplane.cli.rows import choosing, chosen
from controlplane.cli.words import parse_span

#: Services that one line names; JSON has them all.
_NAMES = 10
Command = TypeVar("Command", bound=Callable[..., Any])
_COMMENT = click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")

_STAGES = (
    click.option("--staged", is_flag=True, help="In stages: one sidecar, a share, all; back by itself (`picket rollout`)."),
    click.option(
        "--share", "share_percent", default=20, type=click.IntRange(1, 99), show_default=True, metavar="PERCENT",
        help="With --staged: the second stage.",
    ),
    click.option(
        "--hold", "hold_seconds", default="60s", callback=parse_span, show_default=True, metavar="TIME",
        help="With --staged: how long each stage is watched.",
    ),
    click.option(
        "--max-denials", default=0, type=click.IntRange(0), show_default=True,
        help="With --staged: more connections that only it denies take it back.",
    ),
)  # fmt: skip


def in_stages(command: Command) -> Command:
    """The options of a command whose revision may come into force in stages."""
    for option in reversed(_STAGES):
        command = option(command)
    return command


@click.command("proposals", short_help="Show what was learned and awaits review.")
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--status", type=click.Choice(["open", "approved", "rejected", "superseded"]), help="Only those.")
@click.option("--evidence", is_flag=True, help="Of a proposal also when each edge was used, by whom, and what its paths stand for.")
@connected
def proposals(session: Session, number: int | None, status: str | None, *, evidence: bool) -> None:
    """List proposals, newest first; with NUMBER, show all that one asks for.

    Replicas, versions and canaries of one role that ask for the same stand in one row.
    """
    if number is None:
        _list(session, session.get("/proposals", {"status": status}))
        return
    found = session.get(f"/proposals/{number}")
    if session.output == "json":
        show_json(found)
        return
    out = console()
    edges = plural(found["edge_count"], "edge")
    out.print(f"proposal {number}, {found['status']}: {edges} that revision {found['base_revision']} does not hold")
    from controlplane.cli.proposal import show_rows  # noqa: PLC0415  # `picket --help` does not pay for rich

    show_rows(out, found["edges"], evidence=evidence)
    if found["status"] == "open":
        out.print()
        out.print(cell(_next_step(number, found)))


def _next_step(number: int, found: dict[str, Any]) -> str:
    if found["preselected_count"] == found["edge_count"]:
        return f"`picket approve {number}` takes all of it, with `--rows 1,3-5` some of it; `picket reject {number}` none"
    taken = f"`picket approve {number}` takes the {found['preselected_count']} rows that need no second look"
    if not found["preselected_count"]:
        taken = "nothing is taken without being named"
    return f"{taken}; `picket approve {number} --rows 1,3-5` those that are named, `picket reject {number}` none"


def _list(session: Session, found: dict[str, Any]) -> None:
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["proposals"]:
        out.print("nothing to review: all that was seen is approved, or nothing was seen yet")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(">#", "status", ">edges", "made", "decided", "by", "revision", "~comment")
    for item in found["proposals"]:
        made, decided = clock(item["created_ms"]), clock(item["decided_ms"])
        revision = "-" if item["revision"] is None else item["revision"]
        by = item["decided_by"] or "-"
        listing.add(item["number"], item["status"], item["edge_count"], made, decided, by, revision, item["comment"])
    listing.show(out)
    waiting = next((item["number"] for item in found["proposals"] if item["status"] == "open"), None)
    if waiting is not None:
        out.print(f"\n`picket proposals {waiting}` shows what it asks for")


@click.command("approve", short_help="Put a proposal into force.")
@click.argument("number", type=click.IntRange(1))
@choosing
@click.option("--owner", default="", help="Who answers for what is allowed.")
@click.option("--reason", default="", help="Why it is there; the comment, when left out.")
@click.option("--ticket", default="", help="Where it is followed up.")
@click.option("--expires", metavar="TIME", callback=parse_span, help="When it is to be looked at again, such as 90d.")
@click.option("--override-review", metavar="REASON", default="", help="Why an admin does not wait for others who have to agree.")
@in_stages
@_COMMENT
@connected
def approve(
    session: Session,
    number: int,
    rows: list[int] | None,
    service: str | None,
    source: str | None,
    expires: int | None,
    *,
    mine: bool,
    **about: object,
) -> None:
    """Approve proposal NUMBER: its edges become allow-list entries, and the sidecars concerned are told at once.

    Rows that are odd, or that take something away, are approved only when --rows names them. Rows that others have to agree to
    (owners of the service, a second person) wait for them. What is allowed has a lease: an owner, a reason, a ticket, and a time
    at which it is proposed for removal.
    """
    body: dict[str, object] = dict(about)
    if expires is not None:
        body["expires_ms"] = round((time.time() + expires) * 1000)
    if (wanted := chosen(session, number, rows, service, source, mine=mine, odd=False)) is not None:
        body["rows"] = wanted
    found = session.post(f"/proposals/{number}/approve", body)
    if session.output == "json":
        show_json(found)
        return
    if found["revision"] is not None:
        show_published(session, found)
    waiting: dict[str, list[dict[str, Any]]] = {}
    for row in found["waiting"]:
        waiting.setdefault(row["lacks"], []).append(row)
    for lacks, rows_of in waiting.items():
        first, numbers = rows_of[0], spans(row["row"] for row in rows_of)
        text = f"row {numbers} waits: {first['edge']} still needs {lacks}"
        if len(rows_of) > 1:
            text = f"rows {numbers} wait: each still needs {lacks}"
        console().print(cell(text, "yellow"))


def show_published(session: Session, found: dict[str, Any]) -> None:
    """Tell of a revision that is in force now."""
    if session.output == "json":
        show_json(found)
        return
    names = found["services"]
    shown = ", ".join(map(short, names[:_NAMES]))
    more = f" and {plural(len(names) - _NAMES, 'other service')}" if len(names) > _NAMES else ""
    if found.get("staged"):
        text = f"revision {found['revision']} begins in one sidecar of each workload; it changes {shown}{more}"
        console().print(cell(f"{text}; `picket rollout list` shows how far it is"))
        return
    console().print(cell(f"revision {found['revision']} is in force; it changes {shown or 'nothing'}{more}"))


@click.command("reject", short_help="Close a proposal without approving it.")
@click.argument("number", type=click.IntRange(1))
@choosing
@_COMMENT
@connected
def reject(
    session: Session, number: int, rows: list[int] | None, service: str | None, source: str | None, comment: str, *, mine: bool
) -> None:
    """Reject proposal NUMBER, or rows of it: those are not proposed again. It can still be approved."""
    wanted = chosen(session, number, rows, service, source, mine=mine, odd=True)
    found = session.post(f"/proposals/{number}/reject", {"comment": comment} | ({} if wanted is None else {"rows": wanted}))
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))


@click.command("comment", short_help="Say something about a row of a proposal.")
@click.argument("number", type=click.IntRange(1))
@click.argument("row", type=click.IntRange(1))
@click.argument("text")
@connected
def comment(session: Session, number: int, row: int, text: str) -> None:
    """Say TEXT about the edge in ROW of proposal NUMBER. It stands there whenever that edge is reviewed."""
    found = session.post(f"/proposals/{number}/comments", {"row": row, "text": text})
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))
