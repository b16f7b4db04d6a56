"""Join files and targets: read, or refused by the name of what is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sidecar.join import MAX_JOIN_BYTES, MAX_SOCKET_PATH_BYTES, SettingsError, check_target, is_local, read_join
from tests.sidecar.joins import join, write_join


def test_a_join_file_is_read(tmp_path: Path) -> None:
    read, warning = read_join(write_join(tmp_path / "join.json", more="is ignored"))
    assert (read, warning) == (join(), "")
    assert read.spiffe_id == "spiffe://picket.test/ns/shop/sa/cart"


def test_neither_token_nor_roots_show_when_a_join_is_printed() -> None:
    assert "a-join-token" not in repr(join())
    assert "CERTIFICATE" not in repr(join())


def test_a_join_file_that_others_can_read_brings_a_warning(tmp_path: Path) -> None:
    path = write_join(tmp_path / "join.json")
    path.chmod(0o644)
    assert "chmod 600" in read_join(path)[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("control_plane", None),
        ("control_plane", "example.com"),
        ("control_plane", "example.com:0"),
        ("control_plane", "example.com:65536"),
        ("control_plane", "https://example.com:443"),
        ("control_plane", "unix:relative"),
        ("control_plane", "unix:/" + "x" * MAX_SOCKET_PATH_BYTES),
        ("enrollment", ""),
        ("workload", "cart"),
        ("workload", "shop/cart/more"),
        ("workload", "../cart"),
        ("workload", "shop/.."),
        ("workload", "shop/ca~rt"),
        ("trust_domain", "Example.com"),
        ("trust_domain", ""),
        ("token", "x" * 257),
        ("token", "a\nb"),
        ("server_name", ""),
        ("server_name", "x" * 254),
        ("workload", 7),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(SettingsError, match=field):
        read_join(write_join(tmp_path / "join.json", **{field: value}))


def test_missing_and_oversized_join_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="picket token"):
        read_join(tmp_path / "join.json")
    (tmp_path / "join.json").write_bytes(b" " * (MAX_JOIN_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than"):
        read_join(tmp_path / "join.json")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
def test_whatever_is_in_a_join_file_it_is_read_or_refused_in_words(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "join.json").write_bytes(body)
    with pytest.raises(SettingsError, match="not a join file"):
        read_join(tmp_path / "join.json")


@given(st.text(max_size=60))
def test_a_target_is_accepted_or_refused_in_words(target: str) -> None:
    with contextlib.suppress(SettingsError):
        check_target(target, "here")
        assert is_local(target) in {True, False}


@pytest.mark.parametrize("target", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_loopback_and_unix_sockets_are_local(target: str) -> None:
    assert is_local(target)


@pytest.mark.parametrize("target", ["10.0.0.1:1", "[2001:db8::1]:1", "example.com:1", "localhost.example.com:1", "0.0.0.0:1"])
def test_everything_else_is_not(target: str) -> None:
    assert not is_local(target)
