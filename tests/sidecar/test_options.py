"""The command line: options, their environment variables, and one clear line for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.join import SettingsError
from sidecar.options import parse
from sidecar.settings import Settings
from tests.sidecar.joins import write_join

PATH = {"PATH": os.environ["PATH"]}
#: Root has to say whom the application runs as.
USER = ["--app-user", "65534:65534"] if os.geteuid() == 0 else []


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    """What every call needs."""
    return ["--join", str(write_join(tmp_path / "join.json")), "--state", str(tmp_path / "s"), "--instance", "cart-1"]


def settings_of(arguments: list[str], environment: Mapping[str, str] = PATH) -> Settings:
    return parse(arguments, environment)[0]


def test_everything_has_a_default_but_where_to_join_and_what_to_keep(base: list[str]) -> None:
    made = settings_of(base)
    assert (made.capture, made.command, made.concurrency, made.outbound_udp) == ("redirect", (), 1, "pass")
    assert (made.report_interval_seconds, made.drain_seconds, made.app_start_wait_seconds) == (5.0, 5.0, 30.0)
    for missing, option in ((base[2:], "--join"), (base[:2], "--state")):
        with pytest.raises(SettingsError, match=f"{option} is missing"):
            settings_of(missing)


def test_the_demos_call_is_understood(base: list[str]) -> None:
    options = ["--capture", "explicit", "--report-interval-seconds", "0.5"]
    made = settings_of([*base, *options, *USER, "--", sys.executable, "-m", "x", "--spec"])
    assert made.capture == "explicit"
    assert made.report_interval_seconds == 0.5
    assert made.command == (sys.executable, "-m", "x", "--spec")
    assert made.app_user == ((65534, 65534) if USER else None)


def test_what_stands_behind_the_dashes_is_the_applications(base: list[str]) -> None:
    made = settings_of([*base, *USER, "--", "env", "--", "--state", "x"])
    assert made.command[1:] == ("--", "--state", "x")
    assert made.command[0] in {"/usr/bin/env", "/bin/env"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--"], "COMMAND is missing"),
        (["--", "no-such-program"], "COMMAND: no-such-program"),
        (["--capture", "magic"], "--capture"),
        (["--concurrency", "many"], "--concurrency"),
        (["--stat", "x"], "unrecognized arguments"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_mistakes_are_told(base: list[str], more: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        settings_of([*base, *more])


def test_options_can_stand_in_the_environment_and_flags_are_above(base: list[str]) -> None:
    environment = PATH | {
        "PICKET_SIDECAR_CAPTURE": "explicit", "PICKET_SIDECAR_DRAIN_SECONDS": "9",
        "PICKET_SIDECAR_EXCLUDE_OUTBOUND_PORT": "22,9100",
    }  # fmt: skip
    made = settings_of([*base, "--drain-seconds", "2"], environment)
    assert (made.capture, made.drain_seconds, made.exclude_outbound_ports) == ("explicit", 2.0, (22, 9100))


@pytest.mark.parametrize(("name", "value"), [("DRAIN_SECONDS", "soon"), ("EXCLUDE_OUTBOUND_PORT", "a"), ("CAPTURE", "magic")])
def test_mistakes_in_the_environment_are_told_by_the_options_name(base: list[str], name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="--" + name.lower().replace("_", "-")):
        settings_of(base, PATH | {f"PICKET_SIDECAR_{name}": value})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the application as somebody else")
def test_root_does_not_start_an_application_as_root_unsaid(base: list[str]) -> None:
    with pytest.raises(SettingsError, match="--app-user is missing"):
        settings_of([*base, "--", "true"])
    assert settings_of([*base, "--app-user", "0:0", "--", "true"]).app_user == (0, 0)


def test_a_mistake_is_one_line_and_exit_code_2(base: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar.main", *base, "--drain-seconds", "-1"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "picket-sidecar: --drain-seconds: 0 to 600\n")


def test_help_and_version_are_there() -> None:
    done = subprocess.run([sys.executable, "-m", "sidecar.main", "--help"], capture_output=True, text=True, check=True)
    assert "--app-user" in done.stdout
    assert "PICKET_SIDECAR_APP_USER" in done.stdout
    done = subprocess.run([sys.executable, "-m", "sidecar.main", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("picket-sidecar ")
