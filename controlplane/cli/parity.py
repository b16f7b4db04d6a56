"""`picket parity`: whether sidecars did with each use what the policy that held says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, console, plural, short, show_json


@click.command("parity", short_help="Show where sidecars did something else than the policy says.")
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="Of so many days.")
@connected
def parity(session: Session, days: int) -> None:
    """Hold what sidecars reported of each use in the last days against the policy and the modes that held at that hour.

    The exit code is 1 when they disagree. Uses that cannot be judged are counted, with the reason. A use counts in the hour in
    which it ended: a stream that outlived a change of its edge's methods or paths is held against what came after.
    """
    found = session.get("/parity", {"days": days})
    if session.output == "json":
        show_json(found)
    else:
        _show(found, days)
    if found["disagreed"]:
        click.get_current_context().exit(1)


def _show(found: Mapping[str, Any], days: int) -> None:
    out = console()
    agreed, disagreed = found["agreed"], found["disagreed"]
    judged = plural(agreed + disagreed, "use")
    said = f"something else with {disagreed}" if disagreed else "nothing else"
    out.print(f"in the last {plural(days, 'day')}, sidecars did with {agreed} of {judged} what the policy says, and {said}")
    if not found["complete"]:
        out.print("older ones were not read: there are too many")
    for one in found["unjudged"]:
        out.print(f"{plural(one['count'], 'use')} not judged: {one['text']}")
    if not disagreed:
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(
        "source", "", "destination", "~asked for", ">uses", "last", "sidecar", "reported", "policy", "by", ">revision"
    )
    for one in found["disagreements"]:
        asked = " ".join(filter(None, (one["protocol"], one["method"], one["path"])))
        evaluated = one["evaluated"]
        by = evaluated["rule"] or evaluated["deny_id"] or f"mode {one['mode']}"
        listing.add(
            short(one["source"]), "→", f"{short(one['destination'])}:{one['port']}", asked, one["count"], ago(one["last_hour_ms"]),
            "destination" if one["direction"] == "in" else "source", _said(one["reported"]), evaluated["verdict"], by,
            one["revision"],
        )  # fmt: skip
    listing.show(out)


def _said(word: Mapping[str, Any]) -> str:
    return f"{word['verdict']} {word['deny_id']}".strip()
