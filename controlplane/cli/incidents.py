"""`picket incidents`: groups of violations, and what is done about them."""

from __future__ import annotations

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, clean, clock, console, moment, plural, short, show_json

_SHOWN = 3


@click.group("incidents", short_help="See, assign and close groups of violations.")
def incidents() -> None:
    """Violations that belong together: scan, lateral movement, stale client, misconfiguration after a change, or other."""


@incidents.command("list")
@click.option("--all", "every", is_flag=True, help="Those that were closed, too.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@connected
def listed(session: Session, *, every: bool, limit: int) -> None:
    """List incidents, newest first."""
    found = session.get("/incidents", {"all": "true" if every else None, "limit": limit})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["incidents"]:
        out.print("no incidents" if every else "no open incidents")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("#", "kind", "~why", "source", "last seen", ">attempts", "status", "whose")
    for item in found["incidents"]:
        more = f" and {item['source_count'] - 1} more" if item["source_count"] > 1 else ""
        status = cell(item["status"], "red" if item["status"] == "open" else "")
        listing.add(
            item["id"], item["kind"], item["why"], short(item["sources"][0]) + more, clock(item["last_seen_ms"]), item["count"],
            status, item["assignee"] or "-",
        )  # fmt: skip
    listing.show(out)


@incidents.command("show", short_help="Show one: what it is, its reach, what was done.")
@click.argument("number", type=click.IntRange(1))
@connected
def show(session: Session, *, number: int) -> None:
    """Show one: what it is, what its sources can reach, and what was done."""
    found = session.get(f"/incidents/{number}")
    if session.output == "json":
        show_json(found)
        return
    item = found["incident"]
    status = f"{item['status']}, {item['assignee'] or 'nobody'}'s"
    if item["status"] == "closed":
        status = f"closed by {item['closed_by']}: {item['close_reason']}"
    lines = [
        f"incident {item['id']}: {item['kind']} ({status})",
        f"  {item['why']}",
        f"  {moment(item['first_seen_ms'])} to {moment(item['last_seen_ms'])}",
        f"  {plural(item['count'], 'attempt')}, {item['denied']} denied",
        f"  from  {_some(item['sources'], item['source_count'])}",
        f"  to    {_some(item['places'], item['place_count'])}",
    ]
    for reach in found["reach"]:
        services = list(reach["services"])
        lines.append(f"  {short(reach['source'])} reaches {plural(len(services), 'service')}: {_some(services, len(services))}")
    lines += [f"  {ago(n['at_ms'])}, {n['actor']}: {n['action']} {n['text']}".rstrip() for n in found["notes"]]
    lines.append(f"  picket violations --query '{item['q']}'")
    for line in lines:
        click.echo(clean(line))


@incidents.command("assign")
@click.argument("number", type=click.IntRange(1))
@click.argument("name", default="")
@connected
def assign(session: Session, *, number: int, name: str) -> None:
    """Give one to somebody; without NAME to nobody."""
    _did(session, number, "assign", {"assignee": name})


@incidents.command("close")
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", required=True, help="What came of it.")
@connected
def close(session: Session, *, number: int, reason: str) -> None:
    """Be done with one."""
    _did(session, number, "close", {"reason": reason})


@incidents.command("reopen")
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why it is not done.")
@connected
def reopen(session: Session, *, number: int, reason: str) -> None:
    """Take one up again."""
    _did(session, number, "reopen", {"reason": reason})


@incidents.command("note")
@click.argument("number", type=click.IntRange(1))
@click.argument("text")
@connected
def note(session: Session, *, number: int, text: str) -> None:
    """Write something down about one."""
    _did(session, number, "note", {"text": text})


def _did(session: Session, number: int, action: str, body: dict[str, object]) -> None:
    done = session.post(f"/incidents/{number}/{action}", body)
    if session.output == "json":
        show_json(done)
    else:
        console().print(done["detail"])


def _some(names: list[str], count: int) -> str:
    shown = ", ".join(short(name) for name in names[:_SHOWN])
    return f"{shown} and {count - _SHOWN} more" if count > _SHOWN else shown or "nothing"
