"""`picket-sidecar init`: puts the redirect in place for a sidecar without privilege, and ends. Starts nothing, keeps nothing.

It needs NET_ADMIN and nothing else, so that neither the sidecar nor the application of a pod needs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from sidecar import capture
from sidecar.join import SettingsError
from sidecar.options import OptionParser, add_options
from sidecar.ports import ASKED_PORTS
from sidecar.settings import OUTBOUND_UDP, PROXY_ID

MAX_EXCLUSIONS = 1000
_DESCRIPTION = """\
Leads the TCP connections of this network namespace through Envoy (nftables, IPv4 and IPv6), and ends. It needs NET_ADMIN. The
rules stay; run again, it replaces them in one step. The sidecar is then started with --redirect-by init, as the user --uid.

Ports 15001, 15006 (Envoy's), 15020, 15021 (health) and 15090 (Prometheus) are Picket's own and never captured.
Each option can be given as an environment variable too: --uid is PICKET_SIDECAR_UID."""


class Asked(msgspec.Struct, frozen=True):
    """What `picket-sidecar init` was told."""

    uid: int
    excluded: capture.Exclusions
    outbound_udp: str


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """The options, checked.

    Raises:
        SettingsError: which option, what is wrong with it and what to do.
    """
    given = parser(environment).parse_args(arguments)
    if not 0 < given.uid < 2**32 - 1:
        raise SettingsError("--uid: 1 to 4294967294; root's own connections have to be captured")
    excluded = capture.Exclusions(
        inbound_ports=tuple(sorted({*_ports("--exclude-inbound-ports", given.exclude_inbound_ports), *ASKED_PORTS})),
        outbound_ports=_ports("--exclude-outbound-ports", given.exclude_outbound_ports),
        outbound_networks=_networks("--exclude-outbound-cidrs", given.exclude_outbound_cidrs),
    )
    return Asked(given.uid, excluded, given.outbound_udp)


def run(asked: Asked) -> None:
    """Put the rules in place.

    Raises:
        capture.CaptureError: they cannot be; the message says what to do.
    """
    # The sidecar is this user as a whole: a group would be one more way around the redirect.
    capture.make(capture.rules(asked.excluded, outbound_udp=asked.outbound_udp, uid=asked.uid, gid=None))


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; ``environment`` gives the defaults."""
    made = OptionParser(
        prog="picket-sidecar init", usage="picket-sidecar init [options]", description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    listed = "with commas between"
    options: list[tuple[str, dict[str, object]]] = [
        ("--uid", {"metavar": "UID", "type": int, "default": PROXY_ID, "help": f"the sidecar's user, who is let go ({PROXY_ID})"}),
        ("--exclude-inbound-ports", {"metavar": "PORTS", "default": "", "help": f"inbound ports that are not captured, {listed}"}),
        ("--exclude-outbound-ports", {"metavar": "PORTS", "default": "", "help": f"the same of outbound ones, {listed}"}),
        ("--exclude-outbound-cidrs", {"metavar": "CIDRS", "default": "",
                                      "help": f"networks toward which nothing is captured, IPv4 or IPv6, {listed}"}),
        ("--outbound-udp", {"choices": OUTBOUND_UDP, "default": "pass",
                            "help": "let the application's UDP pass (it goes around Envoy), or refuse all but DNS"}),
    ]  # fmt: skip
    add_options(made, options, environment)
    return made


def _listed(option: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MAX_EXCLUSIONS:
        raise SettingsError(f"{option}: more than {MAX_EXCLUSIONS}")
    return parts


def _ports(option: str, text: str) -> tuple[int, ...]:
    parts = _listed(option, text)
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) <= 5 and 0 < int(part) < 65536):
            raise SettingsError(f"{option}: {part[:40]!r} is not a port (1 to 65535); several have commas between")
    return tuple(sorted({int(part) for part in parts}))


def _networks(option: str, text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    found: list[IPv4Network | IPv6Network] = []
    for part in _listed(option, text):
        try:
            network = ip_network(part)
        except ValueError as error:
            raise SettingsError(f"{option}: {part[:80]!r} is not a network such as 10.0.0.0/8 or fd00::/8: {error}") from error
        if network.prefixlen == 0:
            raise SettingsError(f"{option}: {part}: nothing would be captured any more")
        found.append(network)
    return tuple(found)
