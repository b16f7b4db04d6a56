"""`picket audit`: who did what to what, as a table or a file, and whether the log is as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from controlplane.cli.connection import Session, Way, connectable, connected
from controlplane.cli.output import clock, console, plural, show_json, show_json_line, spans

PIECE = 1_000
_HEAD = click.option("--head", metavar="ID:HASH", help="A head that was kept: the log has to hold this event as it was.")


@click.group("audit", invoke_without_command=True, short_help="Show who did what, and prove that nobody changed it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@connectable
def audit(way: Way, limit: int) -> None:
    """Show approvals, rejections, modes, rollbacks and join tokens, newest first.

    A name with "(via token)" is what the caller called itself; one without is proved, by a token of its own or the system.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    found = way.session().get("/audit", {"limit": limit})
    if way.output == "json":
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
    return ", ".join(f"{name} {_value(value)}" for name, value in detail.items() if value not in ("", None))


def _value(value: Any) -> str:
    """Numbers of rows in spans, and what is said of several each after its name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and all(isinstance(each, int) for each in value):
        return spans(value)
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_value(each)}" for name, each in value.items())
    return str(value)


@audit.command("export", short_help="Print all events, oldest first, as JSON lines.")
@connected
def export(session: Session) -> None:
    """Print all events, oldest first, one JSON object a line, with their hashes."""
    for event in _all(session):
        show_json_line(event)


def _all(session: Session) -> Iterator[dict[str, Any]]:
    last = 0
    while events := session.get("/audit", {"after_id": str(last), "limit": PIECE})["events"]:
        yield from events
        last = events[-1]["id"]


@audit.command("head")
@connected
def head(session: Session) -> None:
    """Print the last event's ID:HASH. Kept elsewhere, it proves later that nothing before it was changed or cut off."""
    found = session.get("/audit/verify")
    if not found["intact"]:
        raise click.ClickException(_broken(found))
    if session.output == "json":
        show_json({"head": found["head"]})
    elif found["head"]:
        click.echo(found["head"])
    else:
        raise click.ClickException("nothing was done yet, so the log has no head")


@audit.command("verify", short_help="Check that nobody changed the log.")
@click.option(
    "--file", "-f", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Verify what `picket audit export` printed, without a control plane.",
)  # fmt: skip
@_HEAD
@connectable
def verify(way: Way, file: Path | None, head: str | None) -> None:
    """Check that every event is as it was written, in its place, and that none is missing."""
    if file is None:
        found = way.session().get("/audit/verify", {"head": head})
    else:
        from controlplane.cli.audit_file import verified  # noqa: PLC0415  # `picket --help` does not pay for it

        found = verified(file, head)
    if way.output == "json":
        show_json(found)
    elif found["intact"]:
        end = f"; the head is {found['head']}" if found["head"] else ""
        console().print(f"the audit log is intact: {plural(found['events'], 'event')}{end}")
    if not found["intact"]:
        raise click.ClickException(_broken(found))


def _broken(found: dict[str, Any]) -> str:
    return f"the audit log is not as it was written, from event {found['broken_id']} on: {found['reason']}"
