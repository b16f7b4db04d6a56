"""The authority in a directory: ``ca.pem`` and ``ca.key``, and beside them ``authority.json`` with all generations.

``authority.json`` is replaced in one step, and what it says counts: a crash at any moment leaves what was before or what is after.
``ca.pem`` and ``ca.key`` follow it, for people, backups and older versions. Several control planes may share the directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controlplane.identity.authority import CA_LIFETIME, AuthorityError, load_or_create
from controlplane.identity.custody import BUNDLE, CERTIFICATE, KEY, CustodyError, Entries, Kept, Overtaken, decode, encode
from controlplane.identity.generations import Generations, first_generation

MAX_BYTES = 4 * 1024 * 1024
_FILE, _LOCK = "authority.json", ".lock"


class AuthorityDirectory:
    """Implements `custody.Custody`."""

    def __init__(
        self,
        directory: Path,
        trust_domain: str,
        lifetime: timedelta = CA_LIFETIME,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``lifetime`` is how long an authority that has to be made is valid."""
        self._directory = directory
        self._file = directory / _FILE
        self._trust_domain = trust_domain
        self._lifetime = lifetime
        self._clock = clock

    async def load(self) -> Kept:
        """See `custody.Custody`."""
        return await asyncio.to_thread(self._load)

    async def save(self, generations: Generations, before: Kept) -> Kept | Overtaken:
        """See `custody.Custody`."""
        return await asyncio.to_thread(self._save, generations, before)

    def _load(self) -> Kept:
        try:
            body = self._read()
            if body is None:
                authority = load_or_create(self._directory, self._trust_domain, self._clock(), self._lifetime)
                return Kept(first_generation(authority), "", complete=False)
            entries = _entries(body, str(self._file))
            generations = decode(entries, self._trust_domain, self._clock(), str(self._file))
            if not self._is_followed(entries):
                with self._locked():
                    # Somebody may have taken a step since: what was read would put back a key that is gone.
                    if self._read() == body:
                        self._follow(entries)
        except OSError as error:
            raise CustodyError(f"{error.filename or self._directory}: {error.strerror}") from error
        return Kept(generations, _version(body), complete=True)

    def _save(self, generations: Generations, before: Kept) -> Kept | Overtaken:
        entries = encode(generations)
        body = msgspec.json.encode({name: entry.decode() for name, entry in entries.items()})
        try:
            with self._locked():
                found = self._read()
                if _version(found) != before.version:
                    return Overtaken()
                _replace(self._file, body)
                self._follow(entries)
        except OSError as error:
            raise CustodyError(
                f"{error.filename or self._directory}: the authority cannot be kept there: {error.strerror}"
            ) from error
        return Kept(generations, _version(body), complete=True)

    def _read(self) -> bytes | None:
        try:
            with self._file.open("rb") as file:
                return file.read(MAX_BYTES)
        except FileNotFoundError:
            return None

    def _is_followed(self, entries: Entries) -> bool:
        """Whether ``ca.pem`` and ``ca.key`` say the same."""
        wanted = x509.load_pem_x509_certificate(entries[CERTIFICATE])
        return _certificate(self._directory / "ca.pem") == wanted and _fits(self._directory / "ca.key", wanted)

    def _follow(self, entries: Entries) -> None:
        """Have ``ca.pem`` and ``ca.key`` say the same, where a crash came between. Whoever asks for it holds the lock.

        Raises:
            AuthorityError: they are another authority's, which somebody put there.
        """
        if self._is_followed(entries):
            return
        certificate_file, key_file = self._directory / "ca.pem", self._directory / "ca.key"
        held = _certificate(certificate_file)
        if held is not None and held not in x509.load_pem_x509_certificates(entries[BUNDLE]):
            raise AuthorityError(
                f"{self._directory}: ca.pem is none of the roots in {_FILE}; restore the directory from one backup, or remove "
                f"{_FILE} to begin with ca.pem and ca.key alone"
            )
        _replace(key_file, entries[KEY])
        _replace(certificate_file, entries[CERTIFICATE])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _entries(body: bytes, where: str) -> dict[str, bytes]:
    try:
        return {name: text.encode() for name, text in msgspec.json.decode(body, type=dict[str, str]).items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder's words could hold a part of a key.
        raise AuthorityError(f"{where}: cut off or damaged; restore the directory from a backup") from error


def _version(body: bytes | None) -> str:
    return "" if body is None else hashlib.sha256(body).hexdigest()


def _certificate(path: Path) -> x509.Certificate | None:
    """What is there, if it is there and reads."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _fits(path: Path, certificate: x509.Certificate) -> bool:
    """Whether the key there is the certificate's."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return key.public_key() == certificate.public_key()


def _replace(path: Path, body: bytes) -> None:
    """Whole or not at all, also when the machine stops; for the owner alone. Whoever asks for it holds the lock.

    What a crash left unfinished is written over the next time: no key lies about under a name of its own.
    """
    unfinished = path.with_name(f".{path.name}.new")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
