"""Waiting for what another process or task does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

WAIT_SECONDS = 30.0


async def until(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Return once something is so; time out when it never is."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def text_of(path: Path) -> str:
    """A file's text; empty while it is not there."""
    return path.read_text() if path.exists() else ""


def has_ended(pid: int) -> bool:
    """Whether a process is gone, all of its threads too, or only waits for its parent to look."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True
