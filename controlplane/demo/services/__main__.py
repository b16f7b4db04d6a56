"""`python -m controlplane.demo.services --spec FILE`: one application of the demo, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

import msgspec

from controlplane.demo.services.application import Application, ListenError
from controlplane.demo.services.arrivals import Arrivals
from controlplane.demo.services.control import Control
from controlplane.demo.services.messages import Spec

_PR_SET_PDEATHSIG = 1


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
    """Become the user that the application is to be, before anything is served.

    The program does it itself and not the one that starts it: where Python is in a directory that is root's alone, all that
    is needed has to be imported before.
    """
    if spec.user < 0 or os.geteuid() == spec.user:
        return
    if not all(_open_to_all(Path(place)) for place in (sys.base_prefix, sys.prefix, __file__)):
        import encodings.idna  # noqa: F401, PLC0415  # TLS asks for it when it says a host's name

        from controlplane.demo.services import rpc  # noqa: F401, PLC0415  # only who needs it is to pay for it, otherwise
    parent = os.getppid()
    os.setgroups([])
    os.setresgid(spec.group, spec.group, spec.group)
    os.setresuid(spec.user, spec.user, spec.user)
    # A change of user forgets that this program is to end with its parent: prctl(2), PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _open_to_all(path: Path) -> bool:
    resolved = path.resolve()
    return all(place.stat().st_mode & 0o001 for place in (*resolved.parents, resolved if resolved.is_dir() else resolved.parent))


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
