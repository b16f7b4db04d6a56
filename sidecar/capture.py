"""Redirect: nftables rules that bring the application's TCP connections to Envoy. Makes and removes one table, nothing else.

Rules that stay behind after a crash fail closed: they lead to ports on which nobody listens. The next start replaces them in
one transaction. Source: https://wiki.nftables.org/wiki-nftables/index.php/Performing_Network_Address_Translation_(NAT)
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from sidecar.ports import INBOUND_PORT, OUTBOUND_PORT
from sidecar.programs import find_program
from sidecar.settings import PROXY_ID

#: Where Envoy's connections to the application come from.
INWARD_SOURCE = "127.0.0.6"
TABLE = "picket"
TIMEOUT_SECONDS = 10.0
#: Held by whoever makes the rules. An abstract Unix socket belongs to its network namespace, as the ports and the rules do.
_MAKER = "\0picket-redirect"
#: Held by the sidecar that the rules lead to.
_SIDECAR = "\0picket-sidecar"


class CaptureError(Exception):
    """Traffic cannot be captured here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is not captured: inbound connections to ports, outbound ones to ports and to networks."""

    inbound_ports: tuple[int, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    outbound_networks: tuple[IPv4Network | IPv6Network, ...] = ()


NOTHING = Exclusions()


def rules(excluded: Exclusions = NOTHING, *, outbound_udp: str = "pass", uid: int = PROXY_ID, gid: int | None = PROXY_ID) -> str:
    """The whole table as an `nft` script that replaces it in one transaction.

    What the proxy's user (``uid``) or group (``gid``, if any) sends is let go, and so is what stays on the machine (``lo``): an
    application may talk to itself. A service that calls itself by its own name leaves through Envoy and has to come in through
    it again: what the proxy sends to an address of its own is led inward, unless its source marks it as Envoy's way to the
    application.
    ``outbound_udp``: with ``dns`` the application's UDP, UDP-Lite, SCTP and DCCP are refused, except UDP to port 53; with
    ``pass`` they go past Envoy.
    """
    own = f"meta skuid {uid} {{verdict}}" + ("" if gid is None else f"\n    meta skgid {gid} {{verdict}}")
    inward = f'meta l4proto tcp meta skuid {uid} oifname "lo"'
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
    {_outbound(excluded)}meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lo" return
    {_returned("tcp dport", excluded.inbound_ports)}meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
}}
"""


def _outbound(excluded: Exclusions) -> str:
    return (
        _returned("tcp dport", excluded.outbound_ports)
        + _returned("ip daddr", collapse_addresses(net for net in excluded.outbound_networks if isinstance(net, IPv4Network)))
        + _returned("ip6 daddr", collapse_addresses(net for net in excluded.outbound_networks if isinstance(net, IPv6Network)))
    )


def _returned(what: str, values: Iterable[int | IPv4Network | IPv6Network]) -> str:
    listed = ", ".join(map(str, values))
    return f"{what} {{ {listed} }} return\n    " if listed else ""


class Redirect:
    """The redirect of one network namespace, made by the sidecar that it leads to. Only one sidecar can have it."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._guards: list[socket.socket] = []

    def apply(self) -> None:
        """Put the rules in place. Blocks for some milliseconds.

        Raises:
            CaptureError: not root, no `nft`, another sidecar, or a kernel that refuses.
        """
        if os.geteuid() != 0:
            raise CaptureError(
                "--capture redirect needs root; run the sidecar as root, or `picket-sidecar init` before it and the sidecar with "
                "--redirect-by init, or take --capture explicit"
            )
        try:
            for name in (_MAKER, _SIDECAR):
                self._guards.append(_hold(name))
            _nft(self._script)
        except CaptureError:
            self._let_go()
            raise

    def remove(self) -> None:
        """Take the rules away again. Raises `CaptureError`."""
        if not self._guards:
            return
        try:
            _nft(f"table inet {TABLE}\ndelete table inet {TABLE}\n")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for guard in self._guards:
            guard.close()
        self._guards = []


def make(script: str) -> None:
    """Put rules in place that stay, for a sidecar that finds them there (`prepared`). Again: the new ones replace the old.

    Raises:
        CaptureError: no `nft`, a sidecar that made its own rules, or a kernel that refuses.
    """
    guard = _hold(_MAKER)
    try:
        _nft(script)
    finally:
        guard.close()


def hold_for_sidecar() -> socket.socket:
    """A guard that says a sidecar is there, as long as it is open.

    Raises:
        CaptureError: there is another one.
    """
    return _hold(_SIDECAR)


def _hold(name: str) -> socket.socket:
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        guard.bind(name)
    except OSError as error:
        guard.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "another sidecar captures this network namespace; one of them has to go" if taken else str(error.strerror)
        raise CaptureError(f"--capture redirect: {reason}") from error
    return guard


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
