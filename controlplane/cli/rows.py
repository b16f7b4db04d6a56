"""Which rows of a proposal are meant: by their numbers, or in groups by service, source or owner. Asks for nothing by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from controlplane.cli.connection import Session
from controlplane.cli.output import plural

MAX_ROWS = 10_000
_PART = re.compile(r"([1-9][0-9]{0,5})(?:-([1-9][0-9]{0,5}))?")


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


def in_query(rows: Sequence[int] | None) -> str | None:
    """Rows as the API's queries take them."""
    return None if rows is None else ",".join(map(str, rows))


#: Gives a command that looks at a proposal the option to look at a part of it.
only_rows = click.option(
    "--rows",
    metavar="ROWS",
    callback=lambda _c, _p, value: None if value is None else parse_rows(value),
    help="Of the proposal only these, such as 1,3-5.",
)


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which rows are chosen."""
    options = (
        click.option(
            "--rows", metavar="ROWS", callback=lambda _c, _p, value: None if value is None else parse_rows(value),
            help="Only these, such as 1,3-5.",
        ),
        click.option("--service", metavar="NAME", help="Only edges toward this service."),
        click.option("--source", metavar="NAME", help="Only edges from this workload."),
        click.option("--mine", is_flag=True, help="Only edges toward services that you own."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def chosen(
    session: Session, number: int, rows: list[int] | None, service: str | None, source: str | None, *, mine: bool, odd: bool
) -> list[int] | None:
    """The rows that are meant, ``None`` when nothing was said of them. A group has rows that are not preselected only with ``odd``.

    Raises:
        click.UsageError: no row is like that, or none that a group has.
    """
    if service is None and source is None and not mine:
        return rows
    edges: list[dict[str, Any]] = session.get(f"/proposals/{number}")["edges"]
    named = None if rows is None else frozenset(rows)
    like_that = [
        edge
        for edge in edges
        if (named is None or edge["row"] in named)
        and (service is None or _is(edge["destination"], service))
        and (source is None or _is(edge["source"], source))
        and (edge["mine"] or not mine)
    ]
    if not like_that:
        raise click.UsageError(f"no row of proposal {number} is like that; `picket proposals {number}` shows them")
    found = [edge["row"] for edge in like_that if odd or edge["preselected"] or named is not None]
    if not found:
        count = plural(len(like_that), "row")
        raise click.UsageError(f"{count} like that, each odd or a removal: look at them, and name with --rows those that are meant")
    return found


def _is(name: str, wanted: str) -> bool:
    """A name of the namespace default may be written without it, as it is shown."""
    return name in {wanted, f"default/{wanted}"}
