"""The file of users of older versions: taken in once, and only where nobody else could have written it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.userfile import UserFileError, read_users, retire
from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import Scope
from controlplane.policy.roles import Role
from tests.harness.plane import Plane

ENTRY = f'[{{"name":"bob","role":"viewer","sha256":"{token_hash("the old token")}","created_ms":5}}]'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "api-users.json"
    made.write_text(ENTRY)
    made.chmod(0o600)
    return made


def test_an_old_token_lets_in_as_before(plane: Plane, file: Path) -> None:
    assert plane.accounts.adopt(read_users(file)) == 1
    assert plane.accounts.adopt(read_users(file)) == 0
    retire(file)
    assert read_users(file) == []
    caller = plane.accounts.caller("the old token")
    assert caller is not None
    assert (caller.name, caller.scope) == ("bob", Scope(Role.VIEWER))
    assert plane.store.audit(1)[0].action == "user:adopt"


def test_a_file_that_others_could_write_is_not_taken_in(file: Path) -> None:
    file.chmod(0o620)
    with pytest.raises(UserFileError, match="chmod 600"):
        read_users(file)


@pytest.mark.parametrize("text", ["[{}]", "{", ENTRY.replace("bob", "picket"), ENTRY.replace("viewer", "king")])
def test_a_file_that_is_none_is_told(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UserFileError):
        read_users(file)


@given(content=st.binary(max_size=200))
def test_any_file_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("users") / "api-users.json"
    file.write_bytes(content)
    file.chmod(0o600)
    with suppress(UserFileError):
        assert isinstance(read_users(file), list)
