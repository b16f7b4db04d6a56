"""Logs of other tools become learning input, each record counted, each flow once, also over an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlplane.store.stored import ViolationFilter
from controlplane.workflow.retention import Keep
from tests.controlplane.cli.conftest import Picket
from tests.controlplane.flows.imports.samples import ALS, HUBBLE, TEXT, VPC, opened
from tests.harness.plane import Plane
from tests.harness.plane import plane as plane_of


def sample(directory: Path, name: str) -> Path:
    path = directory / name.removesuffix(".gz")
    path.write_bytes(opened(name).read())
    return path


def imported(picket: Picket, path: Path, *more: str) -> dict[str, object]:
    result = picket("learn", "import", str(path), "--state", str(path.with_suffix(".state")), "-o", "json", *more)
    assert result.code == 0, result.err
    found: dict[str, object] = result.json
    return found


@pytest.mark.parametrize(
    ("name", "kind", "lines", "flows"),
    [(HUBBLE, "hubble", 348, 175), (ALS, "envoy-als", 3, 3), (TEXT, "istio-text", 2, 1), (VPC, "aws-vpc", 4, 2)],
)
def test_every_record_is_counted(
    plane: Plane, picket: Picket, tmp_path: Path, name: str, kind: str, lines: int, flows: int
) -> None:
    found = imported(picket, sample(tmp_path, name))
    assert (found["format"], found["lines"]) == (kind, lines)
    uses = sum(edge.count for edge in plane.store.edges())
    assert found["flows"] == uses + plane.store.count_violations(ViolationFilter()).total == flows


def test_an_import_approves_nothing_and_makes_no_sidecar(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    imported(picket, sample(tmp_path, HUBBLE))
    assert plane.store.active_revision() == 0
    assert plane.store.sidecars() == []
    assert picket("proposals", "-o", "json").json["proposals"][0]["status"] == "open"
    (event,) = plane.store.audit(9)
    assert (event.action, json.loads(event.detail)) == ("learn:import", {"log": HUBBLE.removesuffix(".gz"), "format": "hubble"})


def test_an_import_that_is_done_takes_in_only_what_was_added(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    path = sample(tmp_path, TEXT)
    before = [edge.count for edge in plane.store.edges()]
    first = imported(picket, path)
    counted = [edge.count for edge in plane.store.edges()]
    assert counted != before
    assert imported(picket, path) == first
    assert [edge.count for edge in plane.store.edges()] == counted
    told = picket("learn", "import", str(path), "--state", str(path.with_suffix(".state"))).out
    assert "nothing new since the last import" in told


def test_another_control_plane_takes_it_in_as_well(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    """What is done is kept in --data, for each of them."""
    path, data = sample(tmp_path, TEXT), tmp_path / "data"
    assert "1 flow learned" in picket("learn", "import", str(path), "--data", str(data)).out
    assert "nothing new" in picket("learn", "import", str(path), "--data", str(data)).out
    (kept,) = (data / "imports").iterdir()
    with plane_of() as other, other.listening(other.socket) as address:
        assert "nothing new" not in picket("learn", "import", str(path), "--data", str(data), "--server", address).out
        assert other.store.edges() == plane.store.edges() != []
    assert len(list((data / "imports").iterdir())) == 2
    assert kept.stat().st_mode & 0o077 == 0


def test_what_is_older_than_what_is_kept_is_told(picket: Picket, tmp_path: Path) -> None:
    with plane_of() as made:
        made.now_ms, made.keep = 1_800_000_000_000, Keep(edges_days=365)
        with made.listening(made.socket) as address:
            told = picket("learn", "import", str(sample(tmp_path, HUBBLE)), "--server", address).out
    assert "175 flows older than the control plane keeps (--keep-edges-days and --keep-violations-days): gone within" in told


def test_a_lost_state_counts_nothing_twice(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    """The batches have the same names as before, and the control plane knows them."""
    path = sample(tmp_path, HUBBLE)
    imported(picket, path)
    counted = plane.store.edges()
    path.with_suffix(".state").unlink()
    imported(picket, path)
    assert plane.store.edges() == counted


def test_what_cannot_be_imported_is_told(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    strange = tmp_path / "strange.log"
    strange.write_text("no log at all\n")
    ended = picket("learn", "import", str(strange))
    assert (ended.code, "not a log of a known format; say which with --format" in ended.err) == (1, True)
    path = sample(tmp_path, TEXT)
    state = path.with_suffix(".state")
    imported(picket, path)
    path.write_bytes(b"[2019-03-06T09:31:27.360Z] another log\n")
    again = ("learn", "import", str(path), "--format", "istio-text", "--state", str(state))
    assert "this one was replaced or cut" in picket(*again).err
    state.write_text("{}")
    assert "remove it to begin again" in picket(*again).err
    assert picket("learn", "import", str(tmp_path / "missing.log")).code == 2
    assert picket("learn", "import", str(path), "--format", "istio-text", "--of", "web").code == 2
    closed = picket("learn", "import", str(sample(tmp_path, VPC)), "--state", "/proc/nowhere/state")
    assert (closed.code, "name another place with --state" in closed.err) == (1, True)
