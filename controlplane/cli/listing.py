"""A listing for people: columns where they fit, details on lines of their own where they do not. Nothing is ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controlplane.cli.output import cell

_GAP = 2
#: A column that holds details as well is not made narrower than this; a window that is narrower still breaks the lines itself.
_NARROWEST = 24


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    number: bool
    detail: bool


class Listing:
    """Rows under a header.

    A column whose title begins with ``>`` holds numbers. Those that begin with ``~`` hold details of the column before them: in
    a window that is too narrow they stand below that column's text, which folds where it has to.
    """

    def __init__(self, *titles: str) -> None:
        self._columns = [_Column(title.lstrip(">~"), title.startswith(">"), title.startswith("~")) for title in titles]
        self._rows: list[list[Text]] = []

    def add(self, *cells: object) -> None:
        """One row, a cell per column."""
        self._rows.append([value if isinstance(value, Text) else cell(value) for value in cells])

    def show(self, out: Console) -> None:
        """Print it."""
        widths = _widths(self._columns, self._rows)
        first_detail = next((index for index, column in enumerate(self._columns) if column.detail), 0)
        if not first_detail or _total(widths) <= out.width:
            _print(out, self._columns, self._rows, widths)
            return
        columns, rows = self._stacked()
        host = first_detail - 1
        narrowest = max(_NARROWEST, widths[host])  # names do not fold
        widths = _widths(columns, rows)
        spare = out.width - (_total(widths) - widths[host])
        widths[host] = min(widths[host], max(narrowest, spare))
        _print(out, columns, rows, widths)

    def _stacked(self) -> tuple[list[_Column], list[list[Text]]]:
        """The columns without those of details, whose texts go below the text before them."""
        rows = []
        for row in self._rows:
            made: list[Text] = []
            for column, text in zip(self._columns, row, strict=True):
                if not column.detail:
                    made.append(text.copy())
                elif text.plain:
                    made[-1].append("\n").append_text(Text(style="dim").append_text(text))
            rows.append(made)
        return [column for column in self._columns if not column.detail], rows


def _widths(columns: Sequence[_Column], rows: Sequence[Sequence[Text]]) -> list[int]:
    """What each column takes when nothing folds."""
    return [
        max(cell_len(line) for line in [column.title, *(line for row in rows for line in row[index].plain.split("\n"))])
        for index, column in enumerate(columns)
    ]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _print(out: Console, columns: Sequence[_Column], rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> None:
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_edge=False)
    for column, width in zip(columns, widths, strict=True):
        made.add_column(column.title, justify="right" if column.number else "left", overflow="fold", width=width)
    for row in rows:
        made.add_row(*row)
    window = out.width
    out.width = max(window, _total(widths) + _GAP)  # or rich would narrow the columns until names fold
    out.print(made, crop=False)
    out.width = window
