"""`picket user`: a token goes into a private file and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path

from controlplane.policy.accounts import Caller
from controlplane.policy.roles import Role
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane


def test_a_token_is_made_listed_and_revoked(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    assert "no user yet" in picket("user", "list").out
    file = tmp_path / "bob.token"
    made = picket("user", "add", "bob", "--role", "viewer", "--output-file", str(file))
    assert (made.code, made.out) == (0, f"{file}: token of bob, viewer\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in made.out + made.err
    assert picket("user", "list").out == "bob  viewer\n"
    assert picket("user", "add", "bob", "--role", "admin", "--output-file", str(file)).code != 0
    assert picket("user", "revoke", "bob", "--output", "json").json == {"users": [], "next_cursor": None}
    assert picket("user", "revoke", "bob").code != 0
    assert [event.action for event in plane.store.audit(10)] == ["user:revoke", "access-token:create", "user:create"]


def test_a_user_with_a_password_has_no_token(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\n")
    made = picket("user", "add", "ann", "--role", "approver", "--namespace", "shop", "--password-file", str(file))
    assert (made.code, made.out) == (0, "ann signs in to the console, approver\n")
    assert picket("user", "list").out == "ann  approver in shop\n"
    assert isinstance(plane.accounts.sign_in("ann", "correct horse battery", ""), Caller)
    file.write_text("another long password\n")
    assert picket("user", "password", "ann", "--password-file", str(file)).out == "ann has a new password\n"
    assert isinstance(plane.accounts.sign_in("ann", "another long password", ""), Caller)
    file.write_text("short\n")
    assert picket("user", "password", "ann", "--password-file", str(file)).code != 0


def test_a_user_has_several_tokens_each_with_its_end(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    assert picket("user", "tokens").out == "no token yet; `picket user token NAME` makes one\n"
    plane.token("ann", Role.APPROVER)
    file = tmp_path / "ci.token"
    call = ("user", "token", "ann", "--label", "ci", "--role", "viewer", "--namespace", "shop", "--days", "1", "-f", str(file))
    assert picket(*call).out == f"{file}: token 2 of ann, viewer in shop\n"
    assert plane.accounts.caller(file.read_text().strip()) is not None
    assert picket("user", "tokens", "ann").out == "2  ann  ci  viewer in shop  good\n1  ann  -  approver  good\n"
    assert picket("user", "revoke-token", "2").out == "token 2 of ann is revoked\n"
    assert picket("user", "tokens").out.splitlines()[0] == "2  ann  ci  viewer in shop  revoked"
    assert picket("user", "revoke-token", "2").code != 0
    assert picket("user", "revoke", "ann").out == "ann is out, with all tokens\n"
    assert picket("user", "token", "ann", "--namespace", "shop").code == 2


def test_a_user_gets_another_role(plane: Plane, picket: Picket) -> None:
    plane.token("ann", Role.APPROVER)
    assert picket("user", "change", "ann", "--role", "responder", "--namespace", "shop").out == "ann is responder in shop\n"
    assert picket("user", "change", "nobody", "--role", "viewer").code != 0
