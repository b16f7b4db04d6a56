"""`make bench`: runs the scenarios one after the other, prints a table and writes JSON. Never decides whether a build passes.

Each has a process of its own: what one leaves in memory shows in no other's figures.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console

from tests.bench.measurement import Measurement, show, to_json
from tests.bench.scenario import run_one

#: In the order in which they run: those that need the machine quiet first.
SCENARIOS = (
    "regenerate", "allowlist", "revoke", "approval", "push", "fanout", "replicas", "agent", "accesslog", "ingest", "learning",
    "replay", "console", "violations",
)  # fmt: skip


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="run only this scenario (may be repeated)")
    parser.add_argument("--output", type=Path, help="write the figures as JSON to this file")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    measurements: list[Measurement] = []
    for name in options.only or SCENARIOS:
        started = time.monotonic()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            found = alone.submit(run_one, name).result()
        measurements += found
        console.print(f"[bold]{name}[/bold]  {time.monotonic() - started:.0f} s", highlight=False)
        show(found, console)
        console.print()
    missed = [m for m in measurements if m.reached is False]
    names = f": {'; '.join(m.name for m in missed)}" if missed else ""
    console.print(f"{len(measurements)} figures, {len(missed)} goals missed{names}", highlight=False)
    if options.output:
        options.output.write_bytes(to_json(measurements))
        console.print(f"written to {options.output}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
