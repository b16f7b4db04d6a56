"""The file of named API tokens: a name, a role and the SHA-256 of a token each. Never holds or logs a token itself.

Tokens are 256 random bits, so a plain hash cannot be guessed back. The file is read for each call: what is revoked is out at once.
A file that others could read or write, or that is no such file, lets nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from controlplane.api import places
from controlplane.policy.roles import Role

MAX_USERS = 1000
_MAX_BYTES = 1 << 20
#: No space: a name cannot look like a claim ("alice (via token)").
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
#: Names that the control plane itself acts under.
_RESERVED = frozenset({"picket"})


class UsersError(ValueError):
    """The file cannot be used, or what is asked for cannot be; the message says which and why."""


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One caller; ``sha256`` is the hash of the token in hex."""

    name: str
    role: Role
    sha256: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Users:
    """The file's users. ``lock`` orders the writers of this process; one control plane at a time runs on a data directory."""

    path: Path
    lock: threading.Lock

    def known(self) -> list[User]:
        """All users by name; none when there is no file.

        Raises:
            UsersError: a file that cannot be trusted or read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                state = os.fstat(file.fileno())
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsersError(f"{self.path}: cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(state.st_mode) or state.st_mode & 0o077 or state.st_uid != os.geteuid():
            raise UsersError(f"{self.path}: has to belong to this user alone; chmod 600 it")
        if len(content) > _MAX_BYTES:
            raise UsersError(f"{self.path}: more than {_MAX_BYTES} bytes")
        try:
            return msgspec.json.decode(content, type=list[User])
        except msgspec.MsgspecError as error:
            raise UsersError(f"{self.path}: is no list of users: {error}") from error

    def caller(self, token: str) -> User | None:
        """Whose token it is."""
        given = _hash(token)
        found = None
        for user in self.known():  # to the end: how long it takes says nothing about which it was
            if hmac.compare_digest(user.sha256.encode(), given.encode()):
                found = user
        return found

    def add(self, name: str, role: Role, now_ms: int) -> str:
        """A new user's token, which is kept nowhere.

        Raises:
            UsersError: no name, a name that is taken, or a file that cannot be used.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UsersError(f"{name!r} is no user's name: 1 to 64 of a-z, 0-9 and ._@-, and not picket")
        with self.lock:
            users = self.known()
            if any(user.name == name for user in users):
                raise UsersError(f"there is a user {name} already; revoke its token first")
            if len(users) >= MAX_USERS:
                raise UsersError(f"there are {MAX_USERS} users already")
            token = secrets.token_urlsafe(32)
            self._write([*users, User(name, role, _hash(token), now_ms)])
            return token

    def revoke(self, name: str) -> None:
        """Take a user's token away.

        Raises:
            UsersError: there is no such user, or the file cannot be used.
        """
        with self.lock:
            users = self.known()
            left = [user for user in users if user.name != name]
            if len(left) == len(users):
                raise UsersError(f"there is no user {name}")
            self._write(left)

    def _write(self, users: list[User]) -> None:
        try:
            places.write_private(self.path, msgspec.json.encode(sorted(users, key=lambda user: user.name)).decode())
        except places.PlaceError as error:
            raise UsersError(str(error)) from error


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
