"""`picket-sidecar drain`: lets a running sidecar's requests finish before its pod is told to end. Ends nothing itself.

For a preStop hook: the kubelet sends the signal to end only when this is done. It talks to Envoy's admin interface, which only
the sidecar's own user can reach.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sidecar.admin import Admin, AdminError
from sidecar.draining import Draining
from sidecar.join import SettingsError
from sidecar.options import OptionParser, add_options
from sidecar.settings import StatePaths

MAX_SECONDS = 3600.0
_DESCRIPTION = """\
Tells the sidecar of --state to take nothing new and not to be ready any more, and waits until no HTTP request is under way.
For a preStop hook, as the sidecar's own user. Options may stand in the environment: --state is PICKET_SIDECAR_STATE."""


class Asked(msgspec.Struct, frozen=True):
    """What `picket-sidecar drain` was told."""

    admin_socket: Path
    drain_seconds: float
    least_seconds: float


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """The options, checked.

    Raises:
        SettingsError: which option, what is wrong with it and what to do.
    """
    given = parser(environment).parse_args(arguments)
    if given.state is None:
        raise SettingsError("--state is missing: the directory that the sidecar was given")
    for option, value in (("--drain-seconds", given.drain_seconds), ("--least-seconds", given.least_seconds)):
        if not 0 <= value <= MAX_SECONDS:
            raise SettingsError(f"{option}: 0 to {MAX_SECONDS:g}")
    return Asked(StatePaths(given.state.absolute()).admin_socket, given.drain_seconds, given.least_seconds)


def run(asked: Asked) -> bool:
    """Drain. Whether every request had finished in time.

    Raises:
        AdminError: no sidecar runs there, or it is another user's.
    """
    return asyncio.run(_drained(asked))


async def _drained(asked: Asked) -> bool:
    admin = Admin(asked.admin_socket)
    try:
        await admin.get("/ready")
    except AdminError as error:
        raise AdminError(f"no sidecar's Envoy answers at {asked.admin_socket}: {error}; run this as the sidecar's user") from error
    draining = Draining(admin)
    await draining.begin()
    return await draining.finished(max(asked.drain_seconds, asked.least_seconds), asked.least_seconds)


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; ``environment`` gives the defaults."""
    made = OptionParser(
        prog="picket-sidecar drain", usage="picket-sidecar drain --state DIR [options]", description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    options: list[tuple[str, dict[str, object]]] = [
        ("--state", {"metavar": "DIR", "type": Path, "help": "the sidecar's own --state"}),
        ("--drain-seconds", {"metavar": "S", "type": float, "default": 5.0, "help": "how long requests may finish (5)"}),
        ("--least-seconds", {"metavar": "S", "type": float, "default": 0.0,
                             "help": "wait so long in any case: others still send until they know that the pod leaves (0)"}),
    ]  # fmt: skip
    add_options(made, options, environment)
    return made
