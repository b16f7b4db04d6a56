"""The demo as a whole: at full size, with a person, interrupted, and killed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.demo import network
from tests.controlplane.demo.demos import Demo, Demos, apart

pytestmark = pytest.mark.e2e
NO_NAMESPACES = network.is_possible()
needs_namespaces = pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")
KEYS = {
    "topology", "capture", "envoy_version", "services", "edges_expected", "edges_learned", "edges_missing", "edges_extra",
    "expected_requests", "expected_failed", "unexpected_attempts", "unexpected_delivered", "violations_recorded", "seconds",
}  # fmt: skip


@pytest.fixture
def demos() -> Iterator[Demos]:
    """Demos that leave nothing behind, whatever became of them."""
    with apart() as made:
        yield made


def reported(demos: Demos, *options: str) -> dict[str, Any]:
    """The report of a demo that ran once, and came out clean."""
    file = demos.directory / "report.json"
    demo = demos.start("--once", "--approve-all", "--report", str(file), *options)
    assert demo.end() == 0, demo.output
    report: dict[str, Any] = json.loads(file.read_bytes())
    assert report.keys() >= KEYS
    assert set(report["seconds"]) == {"start", "learn", "enforce", "tour"}
    assert (report["edges_missing"], report["edges_extra"], report["failures"]) == ([], [], [])
    assert report["edges_learned"] == report["edges_expected"]
    assert (report["expected_failed"], report["unexpected_delivered"], report["bypass_delivered"]) == (0, 0, 0)
    assert report["violations_recorded"] == report["unexpected_attempts"]
    assert report["bypass_recorded"] == report["bypass_attempts"]
    assert demos.leftovers == []
    return report


@needs_namespaces
def test_online_boutique_in_namespaces_of_its_own(demos: Demos) -> None:
    """Every declared edge is learned and keeps working; every other call is blocked, twice, and is in the log."""
    report = reported(demos, "--capture", "redirect")
    assert (report["topology"], report["capture"], report["services"]) == ("online-boutique", "redirect", 13)
    assert (report["edges_expected"], report["expected_requests"]) == (17, 30)
    # All pairs but the edges; and from elsewhere the same again with a stolen identity, and each of 12 ports without one.
    assert (report["unexpected_attempts"], report["bypass_attempts"]) == (127, 139)


@needs_namespaces
def test_bookinfo_in_namespaces_of_its_own(demos: Demos) -> None:
    """With a server that speaks first, opaque ports, and a host outside the mesh."""
    report = reported(demos, "--capture", "redirect", "--topology", "bookinfo")
    assert (report["edges_expected"], report["unexpected_attempts"], report["bypass_attempts"]) == (8, 48, 42)


def test_bookinfo_with_explicit_listeners(demos: Demos) -> None:
    """Without any privilege: the same results."""
    report = reported(demos, "--capture", "explicit", "--topology", "bookinfo")
    assert (report["capture"], report["unexpected_attempts"], report["bypass_attempts"]) == ("explicit", 48, 42)


def test_a_mesh_in_which_everybody_may_call_everybody(demos: Demos) -> None:
    """Enforcement changes nothing for a sidecar whose every upstream is approved: it is sent nothing, and nobody waits for it."""
    file = demos.directory / "two.yaml"
    file.write_text(
        "services: [{name: web, kind: gateway, ports: []}, {name: cart, kind: service, ports: [{port: 7070, protocol: http}]}]\n"
        "edges: [{from: web, to: cart, port: 7070, protocol: http}]\n"
    )
    report = reported(demos, "--capture", "explicit", "--topology", str(file))
    assert (report["edges_learned"], report["unexpected_attempts"], report["bypass_attempts"]) == (1, 0, 1)


#: Every service in `audit` where the demo asks for `enforce`.
_WITHOUT_ENFORCEMENT = """
import asyncio
from controlplane.demo import stages
from controlplane.demo.plane import Plane
async def audit(self):
    await asyncio.to_thread(self._client.put, "/api/v1/modes", {"mode": "audit", "all": True})
Plane.enforce_all = audit
stages.REPORTS_TIMEOUT_SECONDS = 1.0
"""


def test_a_mesh_that_does_not_enforce_is_found_out(demos: Demos) -> None:
    """The same demo with nothing dropped: every call arrives, and the report says so."""
    file = demos.directory / "report.json"
    options = ("--once", "--approve-all", "--topology", "bookinfo", "--report", str(file))
    demo = demos.start(*options, before=_WITHOUT_ENFORCEMENT)
    assert demo.end() == 1, demo.output
    report = json.loads(file.read_bytes())
    assert (report["unexpected_delivered"], report["bypass_delivered"]) == (48, 42)
    assert (report["violations_recorded"], report["expected_failed"]) == (0, 0)
    assert demos.leftovers == []


def test_a_person_at_the_terminal_is_asked(demos: Demos) -> None:
    """After the edges were shown; the demo then goes on, stays up, and ends on Ctrl-C with nothing left."""
    demo = demos.start("--topology", str(demos.small()), terminal=True)
    demo.wait_for("Approve these 1 edges? [y/N]")
    assert "picket approve 1 --server unix:" in demo.output
    assert re.search(r"console: http://127\.0\.0\.1:\d+/sign-in/once/\S+", demo.output)
    demo.type("y\n")
    demo.wait_for("Everything stays up until Ctrl-C")
    assert demo.end(signal.SIGINT) == 0, demo.output
    assert demos.leftovers == []


def test_a_person_who_does_not_approve_enforces_nothing(demos: Demos) -> None:
    """Anything but yes is no."""
    demo = demos.start("--topology", str(demos.small()), terminal=True)
    demo.wait_for("[y/N]")
    demo.type("\n")
    assert demo.end() == 1
    assert "was not approved; nothing is enforced" in demo.output
    assert demos.leftovers == []


def test_without_a_terminal_somebody_approves_from_elsewhere(demos: Demos) -> None:
    """With the `picket` command that the demo names."""
    demo = demos.start("--topology", str(demos.small()))
    demo.wait_for("Waiting for a decision from elsewhere")
    demos.picket("approve", "1")
    demo.wait_for("Everything stays up until Ctrl-C")
    assert demos.picket("violations", "--output", "json")
    assert demo.end(signal.SIGTERM) == 0
    assert demos.leftovers == []


@pytest.mark.parametrize("stage", ["Capture by", "Waiting for a decision"])
def test_ctrl_c_at_any_stage_leaves_nothing(demos: Demos, stage: str) -> None:
    """Also when it is pressed again and again."""
    demo = demos.start("--topology", str(demos.small()))
    demo.wait_for(stage)
    demo.process.send_signal(signal.SIGINT)
    for _ in range(3):
        demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130, demo.output
    assert "Interrupted" in demo.output
    assert demos.leftovers == []


def test_what_a_killed_demo_leaves_is_removed_by_the_next(demos: Demos) -> None:
    """Sidecars, Envoys, applications, namespaces and files."""
    demo = demos.start("--topology", str(demos.small()))
    demo.wait_for("Waiting for a decision")
    demo.end(signal.SIGKILL)
    assert len(demos.processes) >= 5
    assert bool(demos.namespaces) == (not NO_NAMESPACES)
    again = _once(demos)
    assert again.end() == 0, again.output
    assert "Removed what 1 earlier run had left behind" in again.output
    assert demos.leftovers == []


def test_a_sidecar_that_dies_is_told(demos: Demos) -> None:
    """A demo that has lost a part does not go on as if it had not."""
    demo = demos.start("--topology", str(demos.small()))
    demo.wait_for("Waiting for a decision")
    victim = next(line for line in demos.processes if "sidecar.main" in line)
    os.kill(int(victim.split()[0]), signal.SIGKILL)
    assert demo.end() == 1
    assert "ended with -9" in demo.output
    assert demos.leftovers == []


def _once(demos: Demos) -> Demo:
    return demos.start("--once", "--approve-all", "--topology", str(demos.small()))
