"""`python -m controlplane.demo.services --spec FILE`: one application of the demo, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from controlplane.demo.services.application import Application, ListenError
from controlplane.demo.services.arrivals import Arrivals
from controlplane.demo.services.control import Control
from controlplane.demo.services.messages import Spec


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m controlplane.demo.services")
    parser.add_argument("--spec", type=Path, required=True, help="what to serve (JSON)")
    path: Path = parser.parse_args().spec
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=Spec)
        _take_on(spec)
        asyncio.run(_run(spec))
    except (OSError, msgspec.DecodeError, ListenError) as error:
        print(f"demo application: {path}: {error}", file=sys.stderr)  # noqa: T201  # a program's own last words
        return 1
    return 0


def _take_on(spec: Spec) -> None:
    """Become the user that the application is to be, before anything is served."""
    if spec.user >= 0 and os.geteuid() != spec.user:
        os.setgroups([])
        os.setgid(spec.group)
        os.setuid(spec.user)


async def _run(spec: Spec) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    arrivals = Arrivals()
    application = Application(spec.service, spec.ports, arrivals)
    control = Control(spec.control, spec.controller, arrivals)
    await application.start()
    await control.start()
    await stop.wait()
    await control.stop()
    await application.stop()


if __name__ == "__main__":
    sys.exit(main())
