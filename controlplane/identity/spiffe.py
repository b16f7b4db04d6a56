"""SPIFFE names of workloads: parsing and writing them. Never decides whether a name is to be believed.

Source: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,63}\Z")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")


class SpiffeError(ValueError):
    """A text that is not a name this trust domain hands out."""


@dataclass(frozen=True, slots=True, order=True)
class WorkloadId:
    """A deployable's identity: namespace and service account, each one path segment."""

    namespace: str
    account: str

    def __post_init__(self) -> None:
        for segment in (self.namespace, self.account):
            if not _SEGMENT.match(segment) or segment in {".", ".."}:
                raise SpiffeError(f"{segment!r} cannot stand in a SPIFFE ID: use 1-63 letters, digits, '.', '_' or '-'")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.account}"

    def uri(self, trust_domain: str) -> str:
        """The SPIFFE ID, e.g. ``spiffe://picket.local/ns/shop/sa/cart``."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/sa/{self.account}"


def parse_workload(text: str) -> WorkloadId:
    """Read ``namespace/account``.

    Raises:
        SpiffeError: the text has another shape.
    """
    namespace, slash, account = text.partition("/")
    if not slash:
        raise SpiffeError(f"{text!r} is not of the form namespace/account")
    return WorkloadId(namespace, account)


def parse_uri(uri: str, trust_domain: str) -> WorkloadId:
    """Read a SPIFFE ID of this trust domain.

    Raises:
        SpiffeError: another trust domain, or another shape.
    """
    prefix = f"spiffe://{trust_domain}/ns/"
    if not uri.startswith(prefix):
        raise SpiffeError(f"{uri!r} is not of the trust domain {trust_domain}")
    namespace, _, rest = uri[len(prefix) :].partition("/")
    kind, _, account = rest.partition("/")
    if kind != "sa":
        raise SpiffeError(f"{uri!r} is not of the form spiffe://{trust_domain}/ns/NAMESPACE/sa/ACCOUNT")
    return WorkloadId(namespace, account)


def check_trust_domain(name: str) -> str:
    """Return the name when SPIFFE allows it as a trust domain.

    Raises:
        SpiffeError: it does not.
    """
    if not _TRUST_DOMAIN.match(name):
        raise SpiffeError(f"trust domain {name!r}: use 1-255 of a-z, 0-9, '.', '_' and '-'")
    return name
