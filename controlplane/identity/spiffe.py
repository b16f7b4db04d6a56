"""SPIFFE names of workloads: parsing and writing them. Never decides whether a name is to be believed.

Source: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,63}\Z")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")


class SpiffeError(ValueError):
    """A text that is not a name this trust domain hands out."""


class _Parts(NamedTuple):
    namespace: str
    account: str


class WorkloadId(_Parts):
    """A deployable's identity: namespace and service account, each one path segment.

    A tuple, because a push looks up thousands of them and a tuple's hash costs no call.
    """

    __slots__ = ()

    def __new__(cls, namespace: str, account: str) -> Self:
        """Check both segments.

        Raises:
            SpiffeError: one of them cannot stand in a SPIFFE ID.
        """
        for segment in (namespace, account):
            if not _SEGMENT.match(segment) or segment in {".", ".."}:
                raise SpiffeError(f"{segment[:80]!r} cannot stand in a SPIFFE ID: use 1-63 letters, digits, '.', '_' or '-'")
        return super().__new__(cls, namespace, account)

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
        raise SpiffeError(f"{text[:80]!r} is not of the form namespace/account")
    return WorkloadId(namespace, account)


def parse_uri(uri: str, trust_domain: str) -> WorkloadId:
    """Read a SPIFFE ID of this trust domain.

    Raises:
        SpiffeError: another trust domain, or another shape.
    """
    domain = f"spiffe://{trust_domain}/"
    if not uri.startswith(domain):
        raise SpiffeError(f"{uri[:200]!r} is not of the trust domain {trust_domain}")
    namespaces, _, rest = uri[len(domain) :].partition("/")
    namespace, _, rest = rest.partition("/")
    accounts, _, account = rest.partition("/")
    if (namespaces, accounts) != ("ns", "sa"):
        raise SpiffeError(f"{uri[:200]!r} is not of the form {domain}ns/NAMESPACE/sa/ACCOUNT")
    return WorkloadId(namespace, account)


def check_trust_domain(name: str) -> str:
    """Return the name when SPIFFE allows it as a trust domain.

    Raises:
        SpiffeError: it does not.
    """
    if not _TRUST_DOMAIN.match(name):
        raise SpiffeError(f"trust domain {name!r}: use 1-255 of a-z, 0-9, '.', '_' and '-'")
    return name
