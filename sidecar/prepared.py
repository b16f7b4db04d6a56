"""The redirect that `picket-sidecar init` made: seen to be there, and held for one sidecar. Needs no privilege, changes no rule.

Without NET_ADMIN nobody can read the rules, so it is their work that is looked at: what the sidecar's user sends to an address
of its own has to come in at Envoy's inbound port. All rules are put in place in one transaction: where one works, all do.
"""

from __future__ import annotations

import os
import selectors
import socket

from sidecar.addresses import own_addresses
from sidecar.capture import CaptureError, hold_for_sidecar
from sidecar.ports import INBOUND_PORT, OUTBOUND_PORT

TIMEOUT_SECONDS = 2.0


class Prepared:
    """The redirect of one network namespace, made before the sidecar began."""

    def __init__(self) -> None:
        self._guard: socket.socket | None = None

    def check(self) -> None:
        """See that the rules are there and let this user go. Blocks for some milliseconds, seconds where they are not.

        To be called before Envoy listens.

        Raises:
            CaptureError: they are not, another sidecar is here, or there is no address to try with.
        """
        guard = hold_for_sidecar()
        try:
            addresses = list(own_addresses())
            if not addresses:
                raise CaptureError("--redirect-by init: no address but loopback is here, so the redirect cannot be tried")
            for family, address in addresses:
                _check(family, address)
        except CaptureError:
            guard.close()
            raise
        self._guard = guard

    def release(self) -> None:
        """Let another sidecar have it. The rules stay."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def _check(family: socket.AddressFamily, address: str) -> None:
    """Dial an own address at a port on which nobody listens: led inward, it is answered here."""
    with socket.socket(family) as listener, socket.socket(family) as dialling:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind(("", INBOUND_PORT))
        except OSError as error:
            reason = f"port {INBOUND_PORT} is Envoy's, and somebody has it: {error.strerror}"
            raise CaptureError(f"--redirect-by init: {reason}") from error
        listener.listen()
        dialling.settimeout(TIMEOUT_SECONDS)
        try:
            dialling.connect((address, OUTBOUND_PORT))
        except OSError as error:
            raise _missing(address, str(error)) from error
        if not _arrives(listener, dialling.getsockname()):
            raise _missing(address, "what was sent arrived somewhere else")


def _arrives(listener: socket.socket, sender: tuple[str, int]) -> bool:
    """Whether a connection of this sender comes in; what others send meanwhile is closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while selector.select(TIMEOUT_SECONDS):
            accepted, peer = listener.accept()
            accepted.close()
            if peer == sender:
                return True
    return False


def _missing(address: str, reason: str) -> CaptureError:
    return CaptureError(
        f"--redirect-by init: the redirect is not in this network namespace, or not for user {os.geteuid()} ({address}: {reason}); "
        "`picket-sidecar init` has to run here before the sidecar, with --uid the sidecar's user"
    )
