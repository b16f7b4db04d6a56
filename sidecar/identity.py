"""The sidecar's identity: a key made here, a certificate for it, kept on disk and renewed in time. Never opens a connection.

The key never leaves this machine; it is on disk for the agent's user only, so that a restart needs neither a token nor the
control plane. Profile: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from sidecar.backoff import Backoff
from sidecar.settings import Join, SettingsError, read_join

MAX_FILE_BYTES = 1024 * 1024
KEY_TIMEOUT_SECONDS = 30.0
#: A refusal does not mend itself; asking again is only for what a person changes meanwhile.
REFUSED_RETRY_SECONDS = 30.0
_EARLIEST, _LATEST = 0.5, 0.66
_log = logging.getLogger("picket.identity")


class IdentityError(Exception):
    """No identity can be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and the certificate for it. Times are Unix seconds; the chain has the leaf first."""

    spiffe_id: str
    key_pem: str = field(repr=False)
    chain_pem: str = field(repr=False)
    bundle_pem: str = field(repr=False)
    not_before_seconds: int
    not_after_seconds: int

    @property
    def version(self) -> str:
        """Differs for each certificate that follows another."""
        return f"{self.not_before_seconds}-{self.not_after_seconds}-{zlib.crc32(self.chain_pem.encode()):x}"

    def valid(self, now_seconds: float) -> bool:
        """Whether peers accept it now."""
        return now_seconds < self.not_after_seconds

    def renewal_seconds(self, since_seconds: float, jitter: float) -> float:
        """When to renew, as Unix seconds: 50 to 66 % (by a ``jitter`` of 0 to 1) of the way from ``since_seconds`` to the end."""
        return since_seconds + (self.not_after_seconds - since_seconds) * (_EARLIEST + (_LATEST - _EARLIEST) * jitter)


class Issued(msgspec.Struct, frozen=True):
    """What the control plane signed. Times are Unix seconds."""

    spiffe_id: str
    chain_pem: bytes
    bundle_pem: bytes
    not_before_seconds: int
    not_after_seconds: int


class Unreachable(msgspec.Struct, frozen=True):
    """No answer was to be had; trying again makes sense."""

    reason: str


class Refused(msgspec.Struct, frozen=True):
    """The control plane said no; trying again makes sense only after something changed."""

    reason: str


Answer = Issued | Unreachable | Refused


class Certifier(Protocol):
    """Who signs. `uplink` does it over gRPC."""

    async def enroll(self, token: str, csr_der: bytes) -> Answer:
        """Trade a join token for a certificate."""

    async def renew(self, identity: Identity, csr_der: bytes) -> Answer:
        """A certificate for a new key, by the proof of the old one."""


class _File(msgspec.Struct):
    spiffe_id: str
    key_pem: str
    chain_pem: str
    bundle_pem: str
    not_before_seconds: int
    not_after_seconds: int


def load(path: Path, spiffe_id: str) -> Identity | None:
    """The identity on disk, valid or not; nothing, and a line in the log, where it is unreadable or somebody else's."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.error("identity on disk ignored file=%s reason=%r", path, error.strerror)
        return None
    try:
        read = msgspec.json.decode(body[:MAX_FILE_BYTES], type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The decoder's words could hold a part of the key.
        _log.error("identity on disk ignored file=%s reason=%r", path, "cut off or damaged")
        return None
    if read.spiffe_id != spiffe_id:
        _log.error("identity on disk ignored file=%s reason=%r", path, f"it is of {read.spiffe_id[:300]}, not of {spiffe_id}")
        return None
    return Identity(**msgspec.structs.asdict(read))


def save(path: Path, identity: Identity) -> None:
    """Replace the file in one step, for the agent's user only.

    Raises:
        IdentityError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(identity))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise IdentityError(f"{path}: the identity cannot be kept: {error.strerror}") from error


def new_key() -> tuple[str, bytes]:
    """A private key (PEM) and a signing request for it (DER), from a process of its own. Blocks for about 0.1 s.

    Raises:
        IdentityError: the process failed.
    """
    program = Path(__file__).with_name("keys.py")
    try:
        # -P: the program's own directory must not hide other packages' names.
        made = subprocess.run(
            [sys.executable, "-P", str(program)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=KEY_TIMEOUT_SECONDS, check=True,
        )  # fmt: skip
        read = msgspec.json.decode(made.stdout, type=dict[str, str])
        return read["key_pem"], base64.b64decode(read["csr"], validate=True)
    except subprocess.CalledProcessError as error:
        raise IdentityError(f"no key could be made: {error.stderr.decode('utf-8', 'replace').strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IdentityError(f"no key could be made: {type(error).__name__}") from error
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise IdentityError("no key could be made: the key program wrote something else") from error


class IdentityKeeper:
    """Has an identity at hand: from disk, by the join token, by renewal."""

    def __init__(
        self,
        path: Path,
        join: Join,
        certifier: Certifier,
        changed: Callable[[Identity], None],
        *,
        join_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``changed`` hears of each identity that is to be used from now on. ``clock`` gives Unix seconds."""
        self._path = path
        self._join = join
        self._join_file = join_file
        self._certifier = certifier
        self._changed = changed
        self._clock = clock
        self._random = random.SystemRandom()
        self._renewal = 0.0
        self.current: Identity | None = None

    def restore(self) -> bool:
        """Take what is on disk. Whether it is valid; an expired one is not used, and that is said."""
        found = load(self._path, self._join.spiffe_id)
        if found is None:
            return False
        if not found.valid(self._clock()):
            self.current = found
            self._say_expired(found)
            return False
        self._use(found, found.not_before_seconds)
        return True

    async def run(self) -> None:
        """Enroll if need be, then renew for ever.

        Raises:
            IdentityError: there never was an identity, and the control plane refuses to give one.
        """
        backoff = Backoff()
        while True:
            current = self.current
            now = self._clock()
            if current is not None and current.valid(now) and now < self._renewal:
                # Awake at least once a minute: a machine that slept must notice that its time is up.
                await asyncio.sleep(min(self._renewal - now, 60.0))
                continue
            answer = await self._ask(current if current is not None and current.valid(now) else None)
            if isinstance(answer, Identity):
                backoff.reset()
                continue
            if current is not None and not current.valid(self._clock()):
                self._say_expired(current)
            if isinstance(answer, Unreachable):
                _log.warning("no certificate yet reason=%r", answer.reason)
                await asyncio.sleep(backoff.next_seconds())
                continue
            if current is None:
                raise IdentityError(answer.reason)
            _log.error("certificate refused reason=%r", answer.reason)
            await asyncio.sleep(REFUSED_RETRY_SECONDS)

    async def _ask(self, valid: Identity | None) -> Identity | Unreachable | Refused:
        """One try: renewal where there is a valid identity, enrollment otherwise."""
        token = "" if valid is not None else self._token()
        if valid is None and not token:
            return Refused(
                f"there is no join token; make one with `picket token {self._join.workload}` and put it into the join file"
            )
        try:
            key_pem, csr = await asyncio.to_thread(new_key)
        except IdentityError as error:
            return Unreachable(str(error))  # a machine out of memory, say: what is there stays good meanwhile
        answer = await (self._certifier.renew(valid, csr) if valid is not None else self._certifier.enroll(token, csr))
        if not isinstance(answer, Issued):
            return answer
        if answer.spiffe_id != self._join.spiffe_id:
            return Refused(f"the control plane issued {answer.spiffe_id[:300]}, and the join file is for {self._join.spiffe_id}")
        if not answer.not_before_seconds < answer.not_after_seconds:
            return Refused("the control plane issued a certificate without a lifetime")
        identity = Identity(
            answer.spiffe_id,
            key_pem,
            answer.chain_pem.decode("ascii", "replace"),
            answer.bundle_pem.decode("ascii", "replace"),
            answer.not_before_seconds,
            answer.not_after_seconds,
        )
        try:
            await asyncio.to_thread(save, self._path, identity)
        except IdentityError as error:
            _log.error("identity not on disk, a restart will need a new token reason=%r", str(error))
        # From now on, not from its beginning, which the authority dates back.
        self._use(identity, self._clock())
        how = "renew" if valid else "enroll"
        _log.info("certificate issued how=%s id=%s not_after=%d", how, identity.spiffe_id, identity.not_after_seconds)
        return identity

    def _token(self) -> str:
        """The join token; the file is read again, because a person may have put a new one there."""
        if self._join_file is None:
            return self._join.token
        try:
            return read_join(self._join_file)[0].token
        except SettingsError as error:
            _log.warning("join file not read again reason=%r", str(error))
            return self._join.token

    def _use(self, identity: Identity, since_seconds: float) -> None:
        self.current = identity
        self._renewal = identity.renewal_seconds(since_seconds, self._random.random())
        self._changed(identity)

    def _say_expired(self, identity: Identity) -> None:
        _log.error(
            "identity expired id=%s not_after=%d: peers refuse it, nothing passes; needs the control plane and, in %s, a new "
            "join token (picket token %s)",
            identity.spiffe_id, identity.not_after_seconds, self._join_file or "the join file", self._join.workload,
        )  # fmt: skip
