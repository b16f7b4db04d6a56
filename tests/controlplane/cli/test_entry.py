"""The command as a whole: help, failures, what it loads, and the sidecar that it becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

from controlplane.cli.entry import picket as root
from controlplane.demo.run import DemoOptions
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane

COMMANDS = {
    "approve",
    "ask",
    "audit",
    "break-glass",
    "ca",
    "check",
    "cluster",
    "comment",
    "controlplane",
    "demo",
    "explain",
    "incidents",
    "learn",
    "leases",
    "map",
    "mode",
    "owners",
    "parity",
    "policy",
    "preview",
    "proposals",
    "prove",
    "readiness",
    "reject",
    "replay",
    "rollout",
    "sidecar",
    "sidecars",
    "sinks",
    "token",
    "user",
    "violations",
    "wait",
}


def test_every_command_has_help_of_its_own(picket: Picket) -> None:
    assert set(root.commands) == COMMANDS
    for name in sorted(COMMANDS - {"sidecar"}):
        result = picket(name, "--help")
        assert result.code == 0
        assert root.commands[name].get_short_help_str() in picket("--help").out


def test_no_short_help_is_cut_off() -> None:
    """On a terminal of 80 columns, of the commands in groups as well."""
    groups = [root, *(command for command in root.commands.values() if isinstance(command, click.Group))]
    for group in groups:
        room = 80 - 6 - max(map(len, group.commands))
        for name, command in group.commands.items():
            assert not command.get_short_help_str(room).endswith("..."), f"{group.name} {name}"


def test_a_group_alone_shows_its_help(picket: Picket) -> None:
    for group in ((), ("policy",), ("owners",)):
        result = picket(*group)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"Usage: {' '.join(('picket', *group))} [OPTIONS] COMMAND [ARGS]...\n\n")


def test_a_wrong_command_line_is_one_line(picket: Picket) -> None:
    for arguments in (["nothing"], ["map", "--nothing"], ["approve"], ["approve", "0"], ["map", "-o", "xml"]):
        result = picket(*arguments)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert "--help`)" in result.err


def test_the_demo_can_be_told_all_that_it_takes() -> None:
    assert {option.name for option in root.commands["demo"].params} == {field.name for field in fields(DemoOptions)}


def modules_of(*arguments: str) -> set[str]:
    """The modules that a command line loads."""
    code = f"import sys; from controlplane.cli.entry import run; run({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


def test_help_loads_next_to_nothing() -> None:
    heavy = {"rich", "flask", "sqlalchemy", "networkx", "grpc", "yaml", "msgspec", "cryptography", "envoy", "envoy_data_plane"}
    assert not modules_of("--help") & heavy


def test_the_control_plane_does_not_load_what_is_for_people() -> None:
    loaded = modules_of("controlplane", "--topology", "/nowhere", "--data", "/proc/nowhere", "--api-listen", "127.0.0.1:0")
    assert "flask" in loaded
    # structlog loads rich where it is installed; our own tables are another matter.
    assert not loaded & {"rich.live", "envoy_data_plane", "controlplane.demo.run"}


def test_output_that_nobody_reads_to_the_end_is_no_failure(plane: Plane) -> None:
    """`picket sidecars config cart | head -1` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "controlplane.cli.entry", "map", "-o", "json"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_the_sidecar_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    """Also ``--`` and ``--help``, and not from a folder `sidecar` in the working directory."""
    (tmp_path / "sidecar").mkdir()
    (tmp_path / "sidecar" / "main.py").write_text("print('not the sidecar')")
    command = [sys.executable, "-P", "-m", "controlplane.cli.entry", "sidecar"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (shown.returncode, shown.stdout.startswith("usage: picket-sidecar")) == (0, True)
    command += ["--state", "s", "--", "--join"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("picket-sidecar: COMMAND: --join: no program")


def test_the_output_can_be_chosen_for_good(plane: Plane, picket: Picket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKET_OUTPUT", "json")
    assert picket("map").json["revision"] == 0
