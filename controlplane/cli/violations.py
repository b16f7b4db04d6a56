"""`picket violations`: flows that the allow-list does not hold; once, or as they come."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import click

from controlplane.cli.connection import Session, Way, connectable
from controlplane.cli.output import cell, clean, clock, console, moment, plural, short, show_json, show_json_line

FOLLOW_INTERVAL_SECONDS = 0.5
_PAGE = 1000
_SPAN = re.compile(r"([0-9]{1,6})(s|m|min|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_since(text: str, now_seconds: float) -> int:
    """Read a span such as ``90s``, ``10m``, ``2h`` or ``1d``; the Unix time in milliseconds that long ago.

    Raises:
        click.BadParameter: another shape.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text[:40]!r} is no span of time: write 90s, 10m, 2h or 1d")
    return max(0, int((now_seconds - int(found[1]) * _UNIT_SECONDS[found[2]]) * 1000))


@click.group("violations", short_help="Show blocked and would-be-blocked connections.", invoke_without_command=True)
@click.option(
    "--query", "-q", metavar="LINE",
    help='Such as \'from:shop/cart to:payments/* verdict:denied since:24h path:/x* "free text"\'; the console takes the same.',
)  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on, and show each new one as it comes.")
@click.option("--source", metavar="WORKLOAD", help="Who called: namespace/account or ip:ADDRESS.")
@click.option("--destination", metavar="SERVICE", help="Who was called.")
@click.option("--verdict", type=click.Choice(["denied", "would-deny"]), help="Dropped, or only reported.")
@click.option("--port", type=click.IntRange(1, 65535))
@click.option("--text", help="Sought in names, methods, paths, hosts, addresses and deny IDs.")
@click.option("--since", metavar="SPAN", help="Seen in the last 90s, 10m, 2h, 1d.")
@click.option("--probes", is_flag=True, help="Also those that Picket had tried itself, to prove that they are denied.")
@click.option("--limit", type=click.IntRange(1, 5000), default=50, show_default=True, help="How many, newest first.")
@connectable
@click.pass_context
def violations(
    context: click.Context,
    way: Way,
    *,
    query: str | None,
    follow: bool,
    source: str | None,
    destination: str | None,
    verdict: str | None,
    port: int | None,
    text: str | None,
    since: str | None,
    probes: bool,
    limit: int,
) -> None:
    """Show flows that the allow-list does not hold: who called what, what became of it, and the deny ID that says why.

    A query line is terms side by side: from: to: verdict: port: protocol: method: path: host: sni: peer: reporter: deny:
    revision: since: until:, or a text. Commas part alternatives, * stands for any text, - before a term turns it round.
    """
    if context.invoked_subcommand is not None:
        return
    session = way.session()
    wanted: dict[str, str | int | None] = {
        "q": query,
        "source": source,
        "destination": destination,
        "verdict": verdict,
        "port": port,
        "text": text,
        "since_ms": parse_since(since, time.time()) if since else None,
        "probes": "true" if probes else None,
    }
    found = session.get("/violations", wanted | {"limit": limit})
    if follow:
        _follow(session, wanted, found)
        return
    if session.output == "json":
        show_json(found)
        return
    out = console()
    total = session.get("/violations/count", wanted)
    listed = found["violations"]
    if not listed and not found["cut"]:
        out.print("no violations" if all(value is None for value in wanted.values()) else "no violations match")
        return
    least = "" if total["complete"] else "at least "
    newest = "the newest " if found["next_cursor"] else ""
    out.print(f"{least}{plural(total['count'], 'violation')} in all; {newest}{plural(len(listed), 'row')}")
    if found["cut"]:
        looked_ms = int(found["next_cursor"].partition("-")[0])
        out.print(f"looked through back to {moment(looked_ms)}; narrow the query, or its time by until:")
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("last seen", "source", "", "destination", "~asked for", "~deny ID or reason", "verdict", ">count")
    for item in listed:
        listing.add(*_row(item))
    listing.show(out)


def _row(item: dict[str, Any]) -> list[Any]:
    return [
        clock(item["last_seen_ms"]),
        short(item["source"]),
        "→",
        f"{short(item['destination'])}:{item['port']}",
        _asked(item),
        _why(item),
        cell(_verdict(item), "dim" if item["probe"] else "red" if item["verdict"] == "denied" else "yellow"),
        item["count"],
    ]


def _verdict(item: dict[str, Any]) -> str:
    return f"{item['verdict']} (probe {item['probe']})" if item["probe"] else str(item["verdict"])


def _asked(item: dict[str, Any]) -> str:
    return f"{item['method']} {item['path']}".strip() or str(item["protocol"])


def _why(item: dict[str, Any]) -> str:
    return item["deny_id"] or item["reason"] or "-"


def _follow(session: Session, wanted: dict[str, str | int | None], first: dict[str, Any]) -> None:
    """Show rows in the order in which they began, until interrupted. A control plane that is away is waited for."""
    from controlplane.api.client import UnreachableError  # noqa: PLC0415  # `picket --help` does not pay for it

    for item in reversed(first["violations"]):
        _line(session, item)
    last_id, away = first["last_id"], False
    try:
        while True:
            try:
                found = session.get("/violations", wanted | {"after_id": last_id, "limit": _PAGE})
            except UnreachableError as error:
                if not away:
                    click.echo(f"picket: {error}; waiting for it", err=True)
                away = True
                time.sleep(2 * FOLLOW_INTERVAL_SECONDS)
                continue
            away = False
            for item in found["violations"]:
                _line(session, item)
            last_id = max(last_id, found["last_id"])
            if len(found["violations"]) < _PAGE:
                time.sleep(FOLLOW_INTERVAL_SECONDS)
    except KeyboardInterrupt:
        return


def _line(session: Session, item: dict[str, Any]) -> None:
    if session.output == "json":
        show_json_line(item)
        return
    peers = f"{short(item['source'])} -> {short(item['destination'])}:{item['port']}"
    times = f"  x{item['count']}" if item["count"] > 1 else ""
    click.echo(clean(f"{moment(item['last_seen_ms'])}  {_verdict(item):<10}  {peers}  {_asked(item)}{times}  {_why(item)}"))
    sys.stdout.flush()
