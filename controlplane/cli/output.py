"""How commands answer: JSON for programs, calm tables for people. Names from the wire never reach a terminal unescaped."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Where nobody looks at a terminal, lines are as long as they are.
_UNBOUNDED_WIDTH = 100_000


def show_json(document: object) -> None:
    """One JSON document on standard output, ASCII only: control characters in it are escaped."""
    click.echo(json.dumps(document, indent=2))


def show_json_line(document: object) -> None:
    """One JSON document on one line, at once."""
    click.echo(json.dumps(document))
    sys.stdout.flush()


def console() -> Console:
    """Standard output: colours and the window's width on a terminal, neither elsewhere."""
    from rich.console import Console  # noqa: PLC0415  # a quarter of a start; only tables need it

    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, emoji=False, width=None if terminal else _UNBOUNDED_WIDTH, no_color=not terminal)


def cell(value: object, style: str = "") -> Text:
    """A cell's text, whatever it holds."""
    from rich.text import Text  # noqa: PLC0415  # as above

    return Text(clean(str(value)), style=style)


def lines(texts: Iterable[str]) -> Text:
    """A cell of several lines."""
    from rich.text import Text  # noqa: PLC0415  # as above

    return Text("\n").join(cell(text) for text in texts)


def clean(text: str) -> str:
    """The text with everything that a terminal might obey (escapes, controls, direction marks) written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def short(name: str) -> str:
    """A name without the namespace that most have."""
    return name.removeprefix("default/")


def moment(at_ms: int | None) -> str:
    """A time on this machine's clock; ``-`` when it never happened."""
    return "-" if at_ms is None else datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(at_ms: int | None) -> str:
    """A time on this machine's clock, for tables: without its date where that is today."""
    return moment(at_ms).removeprefix(datetime.now().astimezone().strftime("%Y-%m-%d "))


def ago(at_ms: int | None) -> str:
    """How long ago, in one unit; ``-`` when it never happened."""
    if at_ms is None:
        return "-"
    return f"{_span(max(0.0, time.time() - at_ms / 1000))} ago"


def until(at_ms: int | None) -> str:
    """How long from now, in one unit; ``-`` when there is no such time."""
    if at_ms is None:
        return "-"
    left = at_ms / 1000 - time.time()
    return f"in {_span(left, round)}" if left > 0 else f"{_span(-left)} ago"


def _span(seconds: float, whole: Callable[[float], int] = int) -> str:
    """In one unit. A time that was passed is told by whole units, and one to come by the nearest: five minutes are not four."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{whole(seconds / size)} {unit}"
    return f"{whole(seconds)} s"


def spans(numbers: Iterable[int]) -> str:
    """Numbers as ``1,3-5``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def plural(count: int, noun: str) -> str:
    """``1 edge``, ``2 edges``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def asks_for(edge: Mapping[str, Any], limit: int = 3) -> str:
    """What an edge sends: its protocol, and its methods and paths in short, the first few of them."""
    protocol = edge["protocol"]
    names = [_short_match(match, protocol) for match in edge["http"]]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return " ".join(part for part in (protocol, ", ".join(names[:limit]) + more) if part)


def _short_match(match: Mapping[str, str], protocol: str) -> str:
    """A gRPC path without its package: ``Cart/Get`` for ``POST /shop.v1.Cart/Get``."""
    service, slash, method = match["path"].removeprefix("/").partition("/")
    return f"{service.rpartition('.')[2]}/{method}" if protocol == "grpc" and slash else match_text(match)


def match_text(match: Mapping[str, str]) -> str:
    """A method and a path as people write them."""
    return f"{match['method']} {match['path']}".strip() or "anything"
