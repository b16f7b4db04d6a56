"""The sidecar's identity: a key and the certificate for it, in memory and on disk. Never asks for one.

It is on disk for the agent's user only, so that a restart needs neither a token nor the control plane.
Profile: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from sidecar import segment

MAX_FILE_BYTES = 1024 * 1024
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


class IdentitySource(Protocol):
    """Who has the sidecar's identity at hand, and tells of each that follows: `keeper` or `workloadapi`."""

    current: Identity | None

    def restore(self) -> bool:
        """Take what is on disk. Whether it is valid."""

    def trusted(self, bundle_pem: str) -> None:
        """The control plane says that these roots are trusted, that of who signs first, and Envoy has them."""

    async def run(self) -> None:
        """Have one, and another in time, for ever. Raises `IdentityError` where there never can be one."""


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
    try:
        segment.create(path, msgspec.json.encode(identity))
    except OSError as error:
        raise IdentityError(f"{path}: the identity cannot be kept: {error.strerror}") from error
