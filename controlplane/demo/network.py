"""Network namespaces of a demo: one per service, joined by a bridge in one of their own. Touches nothing of the host's network.

Everything is named after the run, so that what a crashed run left can be found and removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress

PREFIX = "picket-demo-"


class NetworkError(Exception):
    """The namespaces could not be made; the message holds what `ip` said."""


def is_possible() -> str:
    """Empty where namespaces can be made; otherwise what is missing."""
    if os.uname().sysname != "Linux":
        return "this is not Linux"
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found (apt-get install iproute2 nftables)"
    probe = f"{PREFIX}probe-{os.getpid()}"
    try:
        _ip(["netns", "add", probe])
    except NetworkError as error:
        return f"network namespaces are not allowed here ({error})"
    _ip(["netns", "delete", probe])
    return ""


def create(run: str, members: Sequence[tuple[str, str]]) -> None:
    """Make a namespace with an address for each member (namespace, IPv4 address), and the bridge between them.

    Raises:
        NetworkError: `ip` refused.
    """
    hub = f"{run}-hub"
    _ip(["netns", "add", hub])
    _batch(hub, ["link add br0 type bridge", "link set br0 up", "link set lo up"])
    for number, (namespace, address) in enumerate(members):
        _ip(["netns", "add", namespace])
        _batch(hub, [f"link add v{number} type veth peer name eth0 netns {namespace}", f"link set v{number} master br0 up"])
        _batch(
            namespace,
            ["link set lo up", f"address add {address}/16 dev eth0", "link set eth0 up", "route add default dev eth0"],
        )
        # Applications are not root and still listen on their real ports; the setting is the namespace's own.
        _run(["ip", "netns", "exec", namespace, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"], None)


def namespaces(prefix: str = PREFIX) -> list[str]:
    """Namespaces that a demo made, this one or one that crashed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(prefix)]


def remove(names: Iterable[str]) -> None:
    """Remove namespaces and with them all that is in them, processes as well: nobody else's can be there."""
    for name in names:
        inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in inside.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(arguments: Sequence[str]) -> None:
    _run(["ip", *arguments], None)


def _batch(namespace: str, lines: Sequence[str]) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], "\n".join(lines) + "\n")


def _run(command: Sequence[str], text: str | None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
