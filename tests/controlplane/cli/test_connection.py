"""How a command finds the control plane and its token, and what it says when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.api import places
from controlplane.cli.connection import connect
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import TOKEN, Plane
from tests.harness.plane import plane as make_plane


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory that the commands look into."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def hidden() -> Iterator[Plane]:
    """A control plane that nothing in the environment names."""
    with make_plane() as made:
        yield made


def test_no_control_plane_is_told_with_where_it_looked(tmp_path: Path, picket: Picket) -> None:
    result = picket("map")
    assert (result.code, result.out) == (1, "")
    assert str(tmp_path / "data" / "api-address") in result.err
    assert "picket controlplane --topology FILE" in result.err
    assert result.err.count("\n") == 1


def test_the_running_control_plane_is_found_in_the_data_directory(data: Path, hidden: Plane, picket: Picket) -> None:
    with hidden.listening("127.0.0.1:0") as address:
        places.write_private(places.address_file(data), f"{address}\n")
        places.write_private(places.token_file(data), f"{TOKEN}\n")
        assert picket("map").code == 0
    result = picket("map")
    assert result.code == 1
    assert f"no control plane answers at {address}: Connection refused" in result.err


def test_a_missing_or_wrong_token_is_told(data: Path, tmp_path: Path, hidden: Plane, picket: Picket) -> None:
    with hidden.listening("127.0.0.1:0") as address:
        missing = picket("map", "--server", address)
        assert missing.code == 1
        assert "the API's token is missing or wrong" in missing.err
        file = tmp_path / "token"
        assert "No such file" in picket("map", "--server", address, "--token-file", str(file)).err
        file.write_text(f"{TOKEN}\n")
        file.chmod(0o604)
        result = picket("map", "--server", address, "--token-file", str(file))
        assert result.code == 0
        assert "chmod 600" in result.err
        assert TOKEN not in result.err


def test_this_machines_token_stays_on_this_machine(data: Path) -> None:
    """Another machine's control plane gets the token that was named for it, or none."""
    places.write_private(places.token_file(data), f"{TOKEN}\n")
    for here in ("http://127.0.0.1:7600", "http://127.0.20.9:7600", "http://localhost:7600", "http://[::1]:7600"):
        assert connect(here, data, None)._headers.get("Authorization") == f"Bearer {TOKEN}"
    for elsewhere in ("https://mesh.example.org", "https://127.0.0.1.example.org", "https://10.0.0.1", "unix:/a"):
        assert connect(elsewhere, data, None)._headers.get("Authorization") is None
    assert connect("https://mesh.example.org", data, places.token_file(data))._headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("server", ["localhost:7600", "unix:x", "http://10.0.0.1:7600"])
def test_a_wrong_address_is_a_usage_error(picket: Picket, server: str) -> None:
    result = picket("map", "--server", server)
    assert result.code == 2
    assert result.err.startswith("picket: --server: ")
