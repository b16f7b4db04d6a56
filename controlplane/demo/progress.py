"""One line per stage, with its seconds: what the demo shows while it works. Calm where nobody watches a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

#: A table of service names and deny IDs needs more than the 80 columns that are taken where there is no terminal.
PLAIN_COLUMNS = 120
_NAME_COLUMNS, _TEXT_COLUMNS = 9, 72


class Stage:
    """One stage under way."""

    def __init__(self, name: str, status: Status | None) -> None:
        self.name = name
        self.seconds = 0.0
        self.fine = True
        self.result = ""
        self._status = status
        self._began = time.monotonic()

    def show(self, text: str) -> None:
        """Say what is going on."""
        if self._status is not None:
            self._status.update(f"{self.name:<{_NAME_COLUMNS}} [dim]{text}[/dim]")

    def stop_clock(self) -> None:
        """The stage's work is done; what follows is not counted."""
        self.seconds = self.seconds or time.monotonic() - self._began


class Progress:
    """Shows stages on a console."""

    def __init__(self, file: TextIO | None = None) -> None:
        console = Console(file=file, highlight=False)
        self.console = console if console.is_terminal else Console(file=file, highlight=False, width=PLAIN_COLUMNS)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A stage; its line is printed at its end, also when it fails."""
        status = self.console.status(f"{name:<{_NAME_COLUMNS}}", spinner="dots") if self.console.is_terminal else None
        stage = Stage(name, status)
        if status is not None:
            status.start()
        finished = False
        try:
            yield stage
            finished = True
        finally:
            if not finished:
                stage.fine = False
                stage.result = stage.result or "not finished"
            stage.stop_clock()
            if status is not None:
                status.stop()
            self._line(stage)

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(f"  {text}", soft_wrap=True)

    def _line(self, stage: Stage) -> None:
        line = Text("  ")
        line.append("✓ " if stage.fine else "✗ ", style="green" if stage.fine else "red")
        line.append(f"{stage.name:<{_NAME_COLUMNS}}", style="bold")
        line.append(f"{stage.result:<{_TEXT_COLUMNS}}")
        line.append(f"{stage.seconds:6.1f} s", style="dim")
        self.console.print(line, soft_wrap=True)
