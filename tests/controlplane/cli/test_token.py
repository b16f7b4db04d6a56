"""`picket token`: the token goes into a private file and nowhere else."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane


def test_the_join_file_is_private_and_the_token_is_not_shown(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    file = tmp_path / "cart.join"
    result = picket("token", "cart", "--output-file", str(file), "--lifetime-seconds", "120")
    assert result.code == 0
    assert result.out == f"{file}: join file of shop/cart, good once, for 2 min\n"
    assert "picket-join-secret" not in result.out + result.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"workload": "shop/cart", "token": "picket-join-secret"}
    assert [(workload, lifetime) for workload, lifetime, _ in plane.tokens] == [("shop/cart", 120)]


def test_the_file_has_the_workloads_name_unless_named(
    plane: Plane, picket: Picket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = picket("token", "shop/cart", "-o", "json")
    assert result.json == {"workload": "shop/cart", "file": str(tmp_path / "shop.cart.join.json"), "lifetime_seconds": 3600}
    assert (tmp_path / "shop.cart.join.json").exists()


def test_a_file_that_cannot_be_written_is_told(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    result = picket("token", "cart", "-f", str(tmp_path / "none" / "file"))
    assert result.code == 1
    assert "cannot be written: No such file or directory" in result.err


def test_a_workload_that_is_not_there_makes_no_file(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    result = picket("token", "nobody", "-f", str(tmp_path / "file"))
    assert result.code == 1
    assert "there is no service nobody" in result.err
    assert not (tmp_path / "file").exists()
