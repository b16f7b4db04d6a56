"""The files that a control plane leaves for its callers: private, whole, and told when they are not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from controlplane.api import places


def test_a_token_is_made_once_and_private(tmp_path: Path) -> None:
    file = places.token_file(tmp_path)
    token = places.keep_token(file)
    assert len(token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert places.keep_token(file) == token
    assert places.read_token(file) == (token, "")


def test_a_token_that_others_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o644)
    token, warning = places.read_token(file)
    assert token == "0123456789abcdef"
    assert "chmod 600" in warning
    assert token not in warning


@pytest.mark.parametrize(
    "body", [b"", b"short", b"two words of enough length", b"\xff" * 20, b"0123456789abcdef\nsecond line", b"0123456789\x00abcdef"]
)
def test_what_is_no_token_is_refused(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(body)
    with pytest.raises(places.PlaceError, match=str(file)):
        places.read_token(file)


def test_a_token_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(places.PlaceError, match="No such file"):
        places.read_token(tmp_path / "none")
    with pytest.raises(places.PlaceError, match="cannot be written"):
        places.keep_token(tmp_path / "none" / "token")


def test_a_private_file_is_replaced_whole_and_follows_no_link(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "file"
    victim.write_text("mine")
    file.symlink_to(victim)
    places.write_private(file, "secret")
    assert (victim.read_text(), file.read_text(), file.is_symlink()) == ("mine", "secret", False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "victim"]


def test_the_address_is_read_back(tmp_path: Path) -> None:
    file = places.address_file(tmp_path)
    assert places.read_address(file) == ""
    places.write_private(file, "unix:/run/api.sock\n")
    assert places.read_address(file) == "unix:/run/api.sock"
    file.write_bytes(b"\xff")
    assert places.read_address(file) == ""


def test_the_default_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.default_data() == Path("/var/lib/picket")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/state")
    assert places.default_data() == Path("/home/u/state/picket")
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert places.default_data() == Path.home() / ".local/state/picket"
