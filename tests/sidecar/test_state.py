"""The state directory: the sidecar's own, locked for one agent and for the Envoy it left behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sidecar import state
from sidecar.settings import PROXY_ID, StatePaths
from sidecar.state import StateError, come_to_an_end, prepare, was_cut_off

ROOT = os.geteuid() == 0
PROXY = (PROXY_ID, PROXY_ID) if ROOT else None


def test_it_is_made_for_the_agent_with_a_part_for_envoy(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "deep" / "s")
    os.close(prepare(paths, PROXY))
    assert stat.S_IMODE(paths.root.stat().st_mode) == stat.S_IMODE(paths.envoy.stat().st_mode) == 0o700
    assert paths.root.stat().st_uid == os.geteuid()
    assert paths.envoy.stat().st_uid == (PROXY_ID if ROOT else os.geteuid())
    os.close(prepare(paths, PROXY))


def test_whoever_comes_after_one_that_was_killed_is_told(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "s")
    assert not was_cut_off(paths), "nobody was here"
    for ends_well in (False, True):
        lock = prepare(paths, None)
        if ends_well:
            come_to_an_end(lock)
        os.close(lock)
        assert was_cut_off(paths) is not ends_well


def test_a_second_agent_is_told_who_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK_WAIT_SECONDS", 0.1)
    lock = prepare(StatePaths(tmp_path), None)
    with pytest.raises(StateError, match=f"in use by another sidecar .process {os.getpid()}"):
        prepare(StatePaths(tmp_path), None)
    os.close(lock)
    os.close(prepare(StatePaths(tmp_path), None))


def test_an_envoy_that_outlives_its_agent_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its listeners would be in the new one's way."""
    monkeypatch.setattr(state, "LOCK_WAIT_SECONDS", 0.1)
    lock = prepare(StatePaths(tmp_path), None)
    inherited = os.dup(lock)
    os.close(lock)
    with pytest.raises(StateError, match="in use"):
        prepare(StatePaths(tmp_path), None)
    os.close(inherited)
    os.close(prepare(StatePaths(tmp_path), None))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StateError, match="chmod go-w"):
        prepare(StatePaths(tmp_path), None)


def test_a_file_or_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="--state"):
        prepare(StatePaths(tmp_path / "file"), None)
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s" / "envoy").symlink_to(tmp_path)
    with pytest.raises(StateError, match="not a directory"):
        prepare(StatePaths(tmp_path / "s"), None)


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StateError, match="belongs to user 65534"):
        prepare(StatePaths(tmp_path), PROXY)
