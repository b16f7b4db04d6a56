"""`picket violations show|ask|allow`: one violation, and what can be done about its edge."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import clean, moment, plural, show_json, until
from controlplane.cli.words import parse_span


@click.command("show", short_help="Show one, and what can be done about it.")
@click.argument("number", type=click.IntRange(1))
@connected
def show(session: Session, *, number: int) -> None:
    """Show one violation, and the commands that would do something about it."""
    item = session.get(f"/violations/{number}")
    if session.output == "json":
        show_json(item)
        return
    request = f"{item['protocol']} {item['method']} {item['path']}".strip()
    lines = [
        f"violation {number}: {item['verdict']}, {item['deny_id'] or item['reason'] or 'no deny ID'}",
        f"  {item['source']} -> {item['destination']}:{item['port']}  {request}",
        f"  {plural(item['count'], 'attempt')}, {moment(item['first_seen_ms'])} to {moment(item['last_seen_ms'])}",
        f"  reported by {item['reporter']}",
    ]
    rest = (("host", "host"), ("SNI", "server_name"), ("peer", "peer_address"))
    lines += [f"  {title} {item[name]}" for title, name in rest if item[name]]
    lines += [
        f"  to propose the edge:    picket violations ask {number} --reason TEXT",
        f"  to allow it for a time: picket violations allow {number} --for 1h --reason TEXT",
        f"  to cut the source off:  picket mode {item['source']} quarantine",
    ]
    for line in lines:
        click.echo(clean(line))


@click.command("ask", short_help="Propose its edge.")
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", "-m", required=True, help="Why it is needed; whoever reviews it reads this.")
@click.option("--any-request", is_flag=True, help="Whatever is sent over the edge, not only this method and path.")
@connected
def ask(session: Session, *, number: int, reason: str, any_request: bool) -> None:
    """Propose the edge of a violation: it awaits review."""
    item = session.get(f"/violations/{number}")
    body = _edge(item, any_request=any_request) | {"reason": reason, "protocol": item["protocol"]}
    done = session.post("/asks", body)
    if session.output == "json":
        show_json(done)
        return
    said = {"asked": "awaits review", "waiting": "awaits review already", "approved": "is approved already"}
    click.echo(clean(f"{item['source']} -> {item['destination']}:{item['port']} {said[done['state']]}"))


@click.command("allow", short_help="Allow its edge at once, for a time.")
@click.argument("number", type=click.IntRange(1))
@click.option("--for", "seconds", callback=parse_span, required=True, metavar="SPAN", help="How long: 30m, 1h; a day at most.")
@click.option("--reason", "-m", required=True, help="Why it has to pass now.")
@click.option("--ticket", default="", help="Where more is said.")
@click.option("--any-request", is_flag=True, help="Whatever is sent over the edge, not only this method and path.")
@connected
def allow(session: Session, *, number: int, seconds: int, reason: str, ticket: str, any_request: bool) -> None:
    """Allow the edge of a violation at once, for a time. It goes back by itself."""
    item = session.get(f"/violations/{number}")
    body = _edge(item, any_request=any_request) | {"seconds": seconds, "reason": reason, "ticket": ticket}
    done = session.post("/break-glass", body)
    if session.output == "json":
        show_json(done)
        return
    grant = done["grant"]
    edge = f"{grant['source']} -> {grant['destination']}:{grant['port']}"
    click.echo(clean(f"exception {grant['id']}: {edge} is allowed; it ends {until(grant['expires_ms'])}"))


def _edge(item: dict[str, Any], *, any_request: bool) -> dict[str, object]:
    has_match = not any_request and (item["method"] or item["path"])
    http = [{"method": item["method"], "path": item["path"]}] if has_match else []
    return {"source": item["source"], "destination": item["destination"], "port": item["port"], "http": http}
