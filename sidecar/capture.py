"""Redirect: nftables rules that bring the application's TCP connections to Envoy. Makes and removes one table, nothing else.

Rules that stay behind after a crash fail closed: they lead to ports on which nobody listens. The next start replaces them in
one transaction. Source: https://wiki.nftables.org/wiki-nftables/index.php/Performing_Network_Address_Translation_(NAT)
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Sequence

from sidecar.programs import find_program
from sidecar.settings import PROXY_ID

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
#: Where Envoy's connections to the application come from.
INWARD_SOURCE = "127.0.0.6"
TABLE = "picket"
TIMEOUT_SECONDS = 10.0
#: An abstract Unix socket belongs to its network namespace, as the ports and the rules do.
_GUARD = "\0picket-redirect"


class CaptureError(Exception):
    """Traffic cannot be captured here; the message says what to do."""


def rules(*, exclude_outbound_ports: Sequence[int] = (), outbound_udp: str = "pass") -> str:
    """The whole table as an `nft` script that replaces it in one transaction.

    What the proxy's user or group sends is let go, and so is what stays on the machine (``lo``): an application may talk to
    itself. A service that calls itself by its own name leaves through Envoy and has to come in through it again: what the proxy
    sends to an address of its own is led inward, unless its source marks it as Envoy's way to the application.
    ``outbound_udp``: with ``dns`` the application's UDP, UDP-Lite, SCTP and DCCP are refused, except UDP to port 53; with
    ``pass`` they go past Envoy.
    """
    own = f"meta skuid {PROXY_ID} {{verdict}}\n    meta skgid {PROXY_ID} {{verdict}}"
    inward = f'meta l4proto tcp meta skuid {PROXY_ID} oifname "lo"'
    ports = ", ".join(map(str, sorted(exclude_outbound_ports)))
    excluded = f"tcp dport {{ {ports} }} return\n    " if ports else ""
    datagrams = ""
    if outbound_udp == "dns":
        datagrams = """
    oifname "lo" accept
    udp dport 53 accept
    meta l4proto { udp, udplite, sctp, dccp } reject"""
    return f"""table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  # Envoy's own ports are for redirected connections only: a direct one would have Envoy call itself.
  chain guard_output {{
    type filter hook output priority mangle; policy accept;
    {own.format(verdict="accept")}
    fib daddr type local tcp dport {{ {OUTBOUND_PORT}, {INBOUND_PORT} }} reject with tcp reset{datagrams}
  }}
  chain guard_prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" tcp dport {{ {OUTBOUND_PORT}, {INBOUND_PORT} }} drop
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    {inward} ip daddr != 127.0.0.0/8 ip saddr != {INWARD_SOURCE} redirect to :{INBOUND_PORT}
    {inward} ip6 daddr != ::1 ip6 saddr != ::1 redirect to :{INBOUND_PORT}
    {own.format(verdict="return")}
    oifname "lo" return
    {excluded}meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lo" return
    meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
}}
"""


class Redirect:
    """The redirect of one network namespace. Only one sidecar can have it."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._guard: socket.socket | None = None

    def apply(self) -> None:
        """Put the rules in place. Blocks for some milliseconds.

        Raises:
            CaptureError: not root, no `nft`, another sidecar, or a kernel that refuses.
        """
        if os.geteuid() != 0:
            raise CaptureError("--capture redirect needs root; run the sidecar as root, or take --capture explicit")
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            guard.bind(_GUARD)
        except OSError as error:
            guard.close()
            taken = error.errno == errno.EADDRINUSE
            reason = "another sidecar captures this network namespace; one of them has to go" if taken else str(error.strerror)
            raise CaptureError(f"--capture redirect: {reason}") from error
        try:
            _nft(self._script)
        except CaptureError:
            guard.close()
            raise
        self._guard = guard

    def remove(self) -> None:
        """Take the rules away again. Raises `CaptureError`."""
        if self._guard is None:
            return
        try:
            _nft(f"table inet {TABLE}\ndelete table inet {TABLE}\n")
        finally:
            self._guard.close()
            self._guard = None


def _nft(script: str) -> None:
    program = find_program("nft", os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise CaptureError("--capture redirect needs nft: apt-get install nftables")
    try:
        done = subprocess.run(
            [str(program), "-f", "-"], input=script, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CaptureError(f"{program} did not run: {error}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:300]
        raise CaptureError(f"nft refused the redirect: {said} (kernel with nftables and NAT, and CAP_NET_ADMIN, are needed)")
