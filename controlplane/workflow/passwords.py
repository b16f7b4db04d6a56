"""Passwords as argon2id hashes. Never keeps or logs one; checking takes the same time whether or not there is one to check.

Parameters: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
"""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_CHARACTERS, MAX_CHARACTERS = 12, 200


class Passwords:
    """Makes and checks hashes, one at a time: each takes 19 MiB."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._turn = threading.Lock()
        self._nobodys = ""

    def hash(self, password: str) -> str:
        """What is stored."""
        with self._turn:
            return self._hasher.hash(password)

    def is_right(self, stored: str, password: str) -> bool:
        """Whether a password is the stored one; empty: nobody's, found out at the same cost."""
        with self._turn:
            self._nobodys = self._nobodys or self._hasher.hash("nobody has this password")
            try:
                right = self._hasher.verify(stored or self._nobodys, password[:MAX_CHARACTERS])
            except (VerificationError, InvalidHashError):
                return False
        return bool(stored) and right


def check_password(name: str, password: str) -> str:
    """Why a password is not good enough; empty when it is."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        return f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters"
    if name.lower() in password.lower() and len(password) < 2 * MIN_CHARACTERS:
        return "the password holds the name of its user"
    if len(set(password)) < 5:
        return "the password is made of very few characters"
    return ""
