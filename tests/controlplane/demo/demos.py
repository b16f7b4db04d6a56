"""Runs `picket demo` as a program of its own, in a directory for temporary files of its own, and sees what it leaves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.demo import network

#: Two services that may talk, and one that nobody may call.
SMALL = """
services:
- {name: web, kind: gateway, ports: []}
- {name: cart, kind: service, ports: [{port: 7070, protocol: http}]}
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
edges:
- {from: web, to: cart, port: 7070, protocol: http, requests: [{method: GET, path: /}]}
"""
TIMEOUT_SECONDS = 240.0


@dataclass
class Demo:
    """One running demo."""

    process: subprocess.Popen[bytes]
    output_file: Path
    runs: set[str]
    terminal: int = -1
    _seen: bytes = field(default=b"")

    def _poll(self) -> None:
        """Wait a little; meanwhile remember the run's name, read its terminal."""
        self.runs.update(root.name for root in self.output_file.parent.glob("picket-demo-*"))
        _ = self.output  # a terminal that nobody reads stops who writes to it
        time.sleep(0.05)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        if self.terminal < 0:
            return self.output_file.read_text()
        while select.select([self.terminal], [], [], 0)[0]:
            try:
                self._seen += os.read(self.terminal, 65536)
            except OSError:
                break  # the other side is closed
        return self._seen.decode("utf-8", "replace")

    def wait_for(self, text: str) -> None:
        """Wait until it prints something."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            self._poll()

    def type(self, text: str) -> None:
        """Answer at its terminal."""
        os.write(self.terminal, text.encode())

    def end(self, number: signal.Signals | None = None) -> int:
        """Send it a signal, if one is given, and wait for its end. Returns its exit code."""
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self._poll()
        return self.process.wait(1)


@dataclass
class Demos:
    """Starts demos whose temporary files are all in one directory."""

    directory: Path
    running: list[Demo] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)

    def start(self, *options: str, terminal: bool = False, before: str = "") -> Demo:
        """Start one. ``before`` is Python that runs first, in its process."""
        script = f"import sys; from controlplane.cli.entry import main\n{before}\nmain(sys.argv[1:])"
        command = [sys.executable, "-c", script, "demo", *options]
        environment = os.environ | {"TMPDIR": str(self.directory), "TERM": "xterm", "COLUMNS": "100"}
        output_file = self.directory / f"output-{len(self.running)}"
        if terminal:
            ours, theirs = pty.openpty()
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
            os.close(theirs)
            demo = Demo(process, output_file, self.runs, ours)
        else:
            with output_file.open("wb") as file:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
                )
            demo = Demo(process, output_file, self.runs)
        self.running.append(demo)
        return demo

    def small(self) -> Path:
        """The small topology's file."""
        file = self.directory / "small.yaml"
        file.write_text(SMALL)
        return file

    @property
    def leftovers(self) -> list[str]:
        """Directories, namespaces and processes of any of these demos."""
        roots = [root.name for root in self.directory.glob("picket-demo-*")]
        return roots + self.namespaces + self.processes

    @property
    def namespaces(self) -> list[str]:
        """Network namespaces of these demos that are there."""
        return [name for name in network.namespaces() if any(name.startswith(f"{run}-") for run in self.runs)]

    @property
    def processes(self) -> list[str]:
        """Processes whose command line names this directory, but for the demos themselves."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if f"{self.directory}/picket-demo-" in command:
                    found.append(f"{entry.name} {command}")
        return found

    def picket(self, *arguments: str) -> str:
        """What the `picket` command prints, asked of the demo that runs."""
        (root,) = self.directory.glob("picket-demo-*")
        command = [sys.executable, "-m", "controlplane.cli.entry", *arguments, "--server", f"unix:{root}/api.sock"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def clean(self) -> None:
        """Remove what a failed test may have left: the way the next demo would."""
        script = "from controlplane.demo.traces import clean_leftovers; clean_leftovers()"
        subprocess.run([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(self.directory)}, check=True)

    def close(self) -> None:
        """End what still runs."""
        for demo in self.running:
            if demo.process.poll() is None:
                demo.end(signal.SIGINT)
            if demo.terminal >= 0:
                os.close(demo.terminal)


@contextmanager
def apart() -> Iterator[Demos]:
    """Demos in a directory of their own that is removed with all that they left, whatever became of them."""
    directory = Path(tempfile.mkdtemp(prefix="picket-test-", dir="/tmp"))
    directory.chmod(0o755)  # its services are other users
    made = Demos(directory)
    try:
        yield made
    finally:
        made.close()
        made.clean()
        shutil.rmtree(directory)
