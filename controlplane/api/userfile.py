"""The file in which versions before this one kept named tokens: read once, to take its users into the store. Writes none.

Each entry has a name, a role and the SHA-256 of a token. A file that others could read or write, or that is no such file, is not
taken in: whoever could write it could let themselves in.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from controlplane.policy.accounts import AccessToken, Scope, check_name
from controlplane.policy.roles import Role

_MAX_BYTES = 1 << 20
LABEL = "api-users.json"


class UserFileError(ValueError):
    """The file cannot be used; the message says which and why."""


class _User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    role: Role
    sha256: str
    created_ms: int


def read_users(path: Path) -> list[AccessToken]:
    """The file's tokens; none when there is no file.

    Raises:
        UserFileError: a file that cannot be trusted or read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(file.fileno())
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserFileError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode) or state.st_mode & 0o077 or state.st_uid != os.geteuid():
        raise UserFileError(f"{path}: has to belong to this user alone; chmod 600 it")
    if len(content) > _MAX_BYTES:
        raise UserFileError(f"{path}: more than {_MAX_BYTES} bytes")
    try:
        users = msgspec.json.decode(content, type=list[_User])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserFileError(f"{path}: is no list of users: {error}") from error
    wrong = next((reason for user in users if (reason := check_name(user.name))), "")
    if wrong:
        raise UserFileError(f"{path}: {wrong}")
    return [AccessToken(0, user.name, LABEL, Scope(user.role), user.sha256, user.created_ms, LABEL) for user in users]


def retire(path: Path) -> None:
    """Put the file aside, once the store has what is in it.

    Raises:
        UserFileError: it cannot be renamed.
    """
    try:
        path.rename(path.with_name(f"{path.name}.taken-in"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserFileError(f"{path}: cannot be renamed: {error.strerror}") from error
