"""The addresses by which this network namespace is reached from elsewhere. Opens no connection and sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

#: Addresses for documentation (RFC 5737, RFC 3849): by which own address they would be reached is asked of the kernel.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def own_addresses() -> Iterator[tuple[socket.AddressFamily, str]]:
    """One of each family that leads anywhere, IPv4 first."""
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((elsewhere, 9))
                yield family, asking.getsockname()[0]
        except OSError:
            continue  # this family leads nowhere
