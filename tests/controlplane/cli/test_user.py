"""`picket user`: a token goes into a private file and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane


def test_a_token_is_made_listed_and_revoked(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    file = tmp_path / "bob.token"
    made = picket("user", "add", "bob", "--role", "viewer", "--output-file", str(file))
    assert (made.code, made.out) == (0, f"{file}: token of bob, viewer\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in made.out + made.err
    assert picket("user", "list").out == "bob  viewer\n"
    assert picket("user", "add", "bob", "--role", "admin", "--output-file", str(file)).code != 0
    assert picket("user", "revoke", "bob", "--output", "json").json == {"users": [], "next_cursor": None}
    assert picket("user", "revoke", "bob").code != 0
    assert [event.action for event in plane.store.audit(10)] == ["user:revoke", "user:create"]
