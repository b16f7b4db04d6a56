"""Starts the demo's processes: the control plane, a sidecar per service with its application, servers outside the mesh."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from controlplane.demo.documents import application_spec, topology_file
from controlplane.demo.plan import Placed, Plan
from controlplane.demo.traces import Traces

#: Applications run as nobody: they cannot read their sidecar's key.
APPLICATION_USER = (65534, 65534)
SVID_LIFETIME_SECONDS = 3600
CONTROL_PLANE = "controlplane"
#: For browsers, which open no Unix socket; any free port.
CONSOLE_LISTEN = "127.0.0.1:0"
_LAST_WORDS_BYTES = 600


class Processes:
    """Everything that was started, by name."""

    def __init__(self, plan: Plan, traces: Traces, certificate: tuple[Path, Path]) -> None:
        self._plan = plan
        self._traces = traces
        self._certificate = certificate
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.root = traces.root

    @property
    def privileged(self) -> bool:
        """Whether applications can be given a user of their own."""
        return os.geteuid() == 0

    @property
    def data(self) -> Path:
        """The control plane's data directory."""
        return self.root / "controlplane"

    def control_plane(self, api_listen: str, grpc_listen: str, enroll_listen: str) -> None:
        """Start the control plane."""
        topology = self.root / "topology.yaml"
        topology.write_bytes(topology_file(self._plan))
        self._start(
            CONTROL_PLANE,
            [
                sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--data", str(self.data),
                "--topology", str(topology), "--api-listen", api_listen, "--api-listen", CONSOLE_LISTEN,
                "--grpc-listen", grpc_listen, "--enroll-listen", enroll_listen,
                "--svid-lifetime-seconds", str(SVID_LIFETIME_SECONDS),
            ],
        )  # fmt: skip

    def service(self, place: Placed, join: Path | None) -> None:
        """Start a service: behind its sidecar, or alone where it is outside the mesh."""
        user = APPLICATION_USER if self.privileged else None
        command = self._application(place, user)
        if join is not None:
            command = [
                sys.executable, "-m", "sidecar.main", "--join", str(join), "--state", str(place.state),
                "--capture", self._plan.capture, "--instance", place.namespace, "--report-interval-seconds", "0.5",
                # The application becomes its own user itself: only root can reach its program everywhere.
                "--drain-seconds", "0", *(["--app-user", "0:0"] if self.privileged else []), "--", *command,
            ]  # fmt: skip
        self._start_at(place, command)

    def intruder(self, place: Placed) -> None:
        """Start a program that dials with identities that it was not given. It runs as the demo's user: it has stolen them."""
        self._start_at(place, self._application(place, None))

    def _application(self, place: Placed, user: tuple[int, int] | None) -> list[str]:
        """Lay out an application's directory. Returns its command."""
        place.directory.mkdir(mode=0o711, exist_ok=True)
        place.own.mkdir(mode=0o700, exist_ok=True)
        place.spec.write_bytes(application_spec(place, self._certificate, os.geteuid(), user))
        place.spec.chmod(0o644)
        if user is not None:
            os.chown(place.own, *user)
        return [sys.executable, "-m", "controlplane.demo.services", "--spec", str(place.spec)]

    def _start_at(self, place: Placed, command: list[str]) -> None:
        inside = ["ip", "netns", "exec", place.namespace] if self._plan.capture == "redirect" else []
        self._start(str(place.service.name), [*inside, *command])

    def kill(self, name: str) -> None:
        """End one process the hard way."""
        self._running[name].kill()
        self._running[name].wait()

    def ended(self) -> list[str]:
        """Names of processes that are not running any more, with their exit code and the end of their log."""
        found = []
        for name, process in self._running.items():
            if process.poll() is not None:
                found.append(f"{name} ended with {process.returncode}: {self.last_words(name)}")
        return found

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        return self.log_file(name).read_bytes()[-_LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()

    @property
    def logs(self) -> Path:
        """Where everybody's output goes."""
        return self.root / "logs"

    def log_file(self, name: str) -> Path:
        """Where a process's output goes."""
        return self.logs / f"{name.replace('/', '.')}.log"

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End everything, services first, and wait."""
        services = [process for name, process in self._running.items() if name != CONTROL_PLANE]
        _stop(services, timeout_seconds)
        _stop([process for name, process in self._running.items() if name == CONTROL_PLANE], timeout_seconds)

    def _start(self, name: str, command: Sequence[str]) -> None:
        log = self.log_file(name)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PICKET_")} | {"PYTHONUNBUFFERED": "1"}
        with log.open("ab") as file:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
            )
        self._traces.started(self._running[name].pid)


def _stop(processes: Sequence[subprocess.Popen[bytes]], timeout_seconds: float) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + timeout_seconds
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
