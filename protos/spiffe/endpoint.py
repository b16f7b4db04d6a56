"""The Workload API's end on this machine: its address, its bounds, and what a person does who has no identity there. Asks nothing.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

#: Where programs look for the address, as the standard has it.
ADDRESS_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
MAX_ANSWER_BYTES = 1024 * 1024
MAX_HINT_CHARACTERS = 1024
#: sun_path of unix(7), without its closing zero.
_MAX_PATH_BYTES = 107


def read_address(address: str) -> str:
    """An address as the standard writes it, ``unix:///run/spire/agent.sock``, as gRPC's target.

    Raises:
        ValueError: no Unix socket, or no absolute path that the system allows. The standard has TCP, too: whom a port belongs to
            cannot be known, and a key would go to whoever asks.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    fits = parts.path.startswith("/") and address.isprintable() and len(os.fsencode(parts.path)) <= _MAX_PATH_BYTES
    if parts.scheme != "unix" or parts.netloc or parts.query or parts.fragment or not fits:
        raise ValueError(f"{address[:200]!r}: unix: and an absolute path of at most {_MAX_PATH_BYTES} bytes is wanted")
    return f"unix:{parts.path}"


def how_to_register(spiffe_id: str, *more: str) -> str:
    """What a person does where identities are registered; ``more`` are further options."""
    words = " ".join(["-spiffeID", spiffe_id, "-parentID AGENT -selector SELECTOR", *more])
    return f"register this process as {spiffe_id}, in SPIRE: spire-server entry create {words}"
