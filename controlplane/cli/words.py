"""Words of the command line that several commands take: spans of time, and destinations with their ports."""

from __future__ import annotations

import re

import click

_SPAN = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_span(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read ``90s``, ``30m``, ``2h`` or ``90d`` as seconds.

    Raises:
        click.BadParameter: another shape.
    """
    if value is None:
        return None
    found = _SPAN.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value[:40]!r} is no time: write 90s, 30m, 2h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def parse_destination(text: str) -> tuple[str, int]:
    """Read ``SERVICE:PORT``.

    Raises:
        click.UsageError: another shape.
    """
    name, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise click.UsageError(f"{text!r} is not SERVICE:PORT")
    return name, int(port)
