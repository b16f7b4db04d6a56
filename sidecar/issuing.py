"""How an identity is had: a key that is made here, and the words between the agent and whoever signs. Never opens a connection.

The key never leaves this machine.
"""

from __future__ import annotations

import base64
from typing import Protocol

import msgspec

from sidecar.apart import ApartError, run_apart
from sidecar.identity import Identity, IdentityError


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

    async def attest(self, token: str, csr_der: bytes) -> Answer:
        """Trade a pod's service-account token for a certificate."""

    async def renew(self, identity: Identity, csr_der: bytes) -> Answer:
        """A certificate for a new key, by the proof of the old one."""


def new_key() -> tuple[str, bytes]:
    """A private key (PEM) and a signing request for it (DER), from a process of its own. Blocks for about 0.1 s.

    Raises:
        IdentityError: the process failed.
    """
    try:
        read = msgspec.json.decode(run_apart("keys"), type=dict[str, str])
        return read["key_pem"], base64.b64decode(read["csr"], validate=True)
    except ApartError as error:
        raise IdentityError(f"no key could be made: {error}") from error
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise IdentityError("no key could be made: the key program wrote something else") from error
