"""`controlplane/SETTINGS.md` names every setting, with its environment variable and its default, and no other."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

import controlplane
from controlplane.cli.graph import show_map
from controlplane.cli.serve import SETTINGS
from sidecar import drain, init
from sidecar.options import ENVIRONMENT_PREFIX, _parser

PAGE = Path(controlplane.__file__).with_name("SETTINGS.md").read_text()
Rows = dict[str, tuple[str, str]]


def table(section: str) -> Rows:
    """A section's options, each with its environment variable and default."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found: Rows = {}
    for line in text.splitlines():
        if line.startswith("| `--"):
            option, variable, default, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            assert meaning
            assert option not in found
            found[option.strip("`")] = (variable.strip("`"), default.strip("`"))
    return found


def shown(option: click.Option) -> str:
    """A default as people read it."""
    if isinstance(option.show_default, str):
        return option.show_default
    default = option.to_info_dict()["default"]
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, (list, tuple)):
        return " ".join(map(str, default))
    return "" if default is None else str(default)


def of_click(options: Iterable[click.Parameter]) -> Rows:
    """The same out of a command."""
    found: Rows = {}
    for option in options:
        assert isinstance(option, click.Option)
        assert isinstance(option.envvar, str)
        found[option.opts[0]] = (option.envvar, shown(option))
    return found


def test_the_control_planes_settings_are_documented() -> None:
    assert table("Control plane") == of_click(SETTINGS)


def test_the_commands_settings_are_documented() -> None:
    assert table("Commands") == of_click(option for option in show_map.params if getattr(option, "envvar", None))


@pytest.mark.parametrize(
    ("section", "parser"),
    [("Sidecar", _parser({})), ("Sidecar: init", init.parser({})), ("Sidecar: drain", drain.parser({}))],
)
def test_the_sidecars_settings_are_documented(section: str, parser: argparse.ArgumentParser) -> None:
    found: Rows = {}
    for action in parser._actions:
        option = action.option_strings[-1]
        if action.dest in {"help", "version"}:
            continue
        default = "" if action.default in (None, [], "") else str(action.default)
        default = {"True": "true", "False": "false", socket.gethostname(): "host name"}.get(default, default)
        found[option] = (ENVIRONMENT_PREFIX + re.sub("-", "_", option.removeprefix("--")).upper(), default)
    assert table(section) == found
