"""The identity on disk: its owner's alone, read back whole or not at all, never somebody else's."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sidecar.identity import Identity, load, save

CART = "spiffe://picket.test/ns/shop/sa/cart"


def made(not_after_seconds: int = 2000, spiffe_id: str = CART) -> Identity:
    return Identity(spiffe_id, "KEY", "CHAIN", "BUNDLE", 1000, not_after_seconds)


def test_an_identity_is_read_back_and_is_the_agents_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    save(path, made())
    save(path, made(3000))
    assert load(path, CART) == made(3000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_somebody_left_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "identity.json.new").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "identity.json", made())
    assert not (tmp_path / "elsewhere").exists()


def test_neither_key_nor_chain_shows_when_an_identity_is_printed() -> None:
    assert "KEY" not in repr(made())
    assert "CHAIN" not in repr(made())


def test_each_certificate_has_a_version_of_its_own() -> None:
    assert made().version != made(2001).version
    assert made().version != replace(made(), chain_pem="OTHER").version
    assert made().version == made().version


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
def test_a_damaged_file_counts_as_no_identity(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "identity.json").write_bytes(body)
    assert load(tmp_path / "identity.json", CART) is None


def test_somebody_elses_identity_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "identity.json", made(spiffe_id="spiffe://picket.test/ns/shop/sa/web"))
    assert load(tmp_path / "identity.json", CART) is None
    assert "sa/web" in caplog.text
    assert "KEY" not in caplog.text


@given(st.floats(0, 1), st.integers(0, 100_000), st.integers(1, 100_000))
def test_renewal_is_at_half_to_two_thirds_of_what_is_left(jitter: float, since: int, lifetime: int) -> None:
    at = made(since + lifetime).renewal_seconds(since, jitter)
    assert since + 0.49 * lifetime <= at <= since + 0.67 * lifetime
