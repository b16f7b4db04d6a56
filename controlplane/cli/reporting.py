"""The options by which commands are told what to report, where, and what makes them fail. Reports nothing itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from controlplane.policy.findings import SEVERITIES, Severity

Command = TypeVar("Command", bound=Callable[..., Any])
_NEVER = "never"
FILE = click.Path(path_type=Path)

PATHS = click.argument("paths", nargs=-1, type=FILE, metavar="PATH...", required=True)
TOPOLOGY = click.option("--topology", type=FILE, metavar="FILE", help="Services and ports to hold names against.")
OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    envvar="PICKET_OUTPUT",
    show_default=True,
    help="For people, or for programs.",
)
_OPTIONS = (
    click.option(
        "--fail-on",
        type=click.Choice([*(severity.value for severity in SEVERITIES), _NEVER]),
        default=Severity.ERROR.value,
        show_default=True,
        help="The least that makes the command fail, with exit code 1.",
    ),
    click.option("--sarif", type=FILE, metavar="FILE", help="Write findings as SARIF 2.1.0, too."),
    click.option("--junit", type=FILE, metavar="FILE", help="Write findings as JUnit XML, too."),
)


@dataclass(frozen=True, slots=True)
class Reporting:
    """Which reports a command writes, and the least that makes it fail, ``None`` for nothing."""

    fail_on: Severity | None
    sarif: Path | None
    junit: Path | None


def reporting(function: Command) -> Command:
    """Give a command the options, and a `Reporting` as its first argument."""

    @functools.wraps(function)
    def run(*args: Any, fail_on: str, sarif: Path | None, junit: Path | None, **rest: Any) -> Any:
        severity = None if fail_on == _NEVER else Severity(fail_on)
        return function(Reporting(severity, sarif, junit), *args, **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # the same function to click, with three more options
