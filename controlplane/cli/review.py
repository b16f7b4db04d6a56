"""`picket proposals`, `picket approve` and `picket reject`: the review of what was learned."""

from __future__ import annotations

import re
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, clock, console, match_text, plural, short, show_json, table

MAX_ROWS = 10_000
_PART = re.compile(r"([1-9][0-9]{0,5})(?:-([1-9][0-9]{0,5}))?")
_COMMENT = click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")


@click.command("proposals", short_help="Show what was learned and awaits review.")
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--status", type=click.Choice(["open", "approved", "rejected", "superseded"]), help="Only those.")
@connected
def proposals(session: Session, number: int | None, status: str | None) -> None:
    """List proposals, newest first; with NUMBER, show all that one asks for."""
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
    shown = table([">#", "source", "", "destination", "asks for", ">seen", "first", "last"])
    for edge in found["edges"]:
        destination = f"{short(edge['destination'])}:{edge['port']}"
        times = (cell(ago(edge["first_seen_ms"])), cell(ago(edge["last_seen_ms"])))
        shown.add_row(
            str(edge["row"]), cell(short(edge["source"])), "→", cell(destination), _asks(edge), cell(edge["count"]), *times
        )
    out.print(shown)
    if found["status"] == "open":
        out.print(f"\n`picket approve {number}` takes all of it, with `--rows 1,3-5` some of it; `picket reject {number}` none")


def _asks(edge: dict[str, Any]) -> Any:
    """All of it: nobody can approve what is not shown."""
    matches = edge["http"]
    if not matches:
        return cell(f"{edge['protocol']}, anything")
    made = cell(f"{edge['protocol']} {match_text(matches[0])}")
    for match in matches[1:]:
        made.append("\n")
        made.append_text(cell(f"{' ' * len(edge['protocol'])} {match_text(match)}"))
    return made


def _list(session: Session, found: dict[str, Any]) -> None:
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["proposals"]:
        out.print("nothing to review: all that was seen is approved, or nothing was seen yet")
        return
    shown = table([">#", "status", ">edges", "made", "decided", "by", "revision", "comment"])
    for item in found["proposals"]:
        revision = "-" if item["revision"] is None else item["revision"]
        shown.add_row(
            str(item["number"]), cell(item["status"]), cell(item["edge_count"]), cell(clock(item["created_ms"])),
            cell(clock(item["decided_ms"])), cell(item["decided_by"] or "-"), cell(revision), cell(item["comment"]),
        )  # fmt: skip
    out.print(shown)
    waiting = next((item["number"] for item in found["proposals"] if item["status"] == "open"), None)
    if waiting is not None:
        out.print(f"\n`picket proposals {waiting}` shows what it asks for")


def parse_rows(text: str) -> list[int]:
    """Read ``1,3-5``.

    Raises:
        click.BadParameter: another shape, or too many.
    """
    rows: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise click.BadParameter(f"{part.strip()[:40]!r} is no row: write numbers and ranges, such as 1,3-5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first >= MAX_ROWS:
            raise click.BadParameter(f"{part.strip()}: a range goes from the smaller to the larger, over at most {MAX_ROWS} rows")
        rows.update(range(first, last + 1))
    if len(rows) > MAX_ROWS:
        raise click.BadParameter(f"at most {MAX_ROWS} rows")
    return sorted(rows)


@click.command("approve", short_help="Put a proposal into force.")
@click.argument("number", type=click.IntRange(1))
@click.option(
    "--rows",
    metavar="ROWS",
    callback=lambda _c, _p, value: None if value is None else parse_rows(value),
    help="Only these, such as 1,3-5.",
)
@_COMMENT
@connected
def approve(session: Session, number: int, rows: list[int] | None, comment: str) -> None:
    """Approve proposal NUMBER: its edges become allow-list entries, and the sidecars concerned are told at once."""
    body: dict[str, object] = {"comment": comment} | ({} if rows is None else {"rows": rows})
    show_published(session, session.post(f"/proposals/{number}/approve", body))


def show_published(session: Session, found: dict[str, Any]) -> None:
    """Tell of a revision that is in force now."""
    if session.output == "json":
        show_json(found)
        return
    names = found["services"]
    console().print(
        cell(f"revision {found['revision']} is in force; it changes {', '.join(map(short, names)) if names else 'nothing'}")
    )


@click.command("reject", short_help="Close a proposal without approving it.")
@click.argument("number", type=click.IntRange(1))
@_COMMENT
@connected
def reject(session: Session, number: int, comment: str) -> None:
    """Reject proposal NUMBER: its edges are not proposed again."""
    found = session.post(f"/proposals/{number}/reject", {"comment": comment})
    if session.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))
