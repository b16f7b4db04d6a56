"""What a sidecar's agent costs: what its imports take, and its memory while it runs a small mesh's policy with a real Envoy.

Imports are the CPU of new interpreters that import the agent, above that of interpreters that import nothing, turn by turn; the raw
limit is importing gRPC alone. Memory is that of the agents of a running demo (Bookinfo) under enforcement. Modules are compiled
already in both, as they are wherever Picket is installed.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.measurement import Measurement, median

ROUNDS = 11
START_SECONDS = 90.0


def run() -> list[Measurement]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as cache:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        bare, grpc, agent = _import_ms(("pass", "import grpc.aio", "import sidecar.main, sidecar.agent"), environment)
        rss = _agents_rss_mib(environment)
    return [
        Measurement(
            "sidecar agent imports, CPU above a bare interpreter", agent - bare, "ms", 100, raw=grpc - bare,
            detail={"against raw": (agent - bare) / (grpc - bare), "bare interpreter ms": bare},
        ),
        Measurement("sidecar agent RSS, enforcing", median(rss), "MiB", 40, detail={"largest": max(rss), "agents": len(rss)}),
    ]  # fmt: skip


def _import_ms(codes: tuple[str, ...], environment: Mapping[str, str]) -> list[float]:
    """Milliseconds of CPU for each, the median of some rounds; the first round compiles and does not count."""
    found: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(ROUNDS + 1):
        for code in codes:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found[code].append(spent * 1000)
    return [median(spent[1:]) for spent in found.values()]


def _agents_rss_mib(environment: Mapping[str, str]) -> list[float]:
    """The demo stays up after its tour; then its agents are looked at."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "demo", "--topology", "bookinfo", "--approve-all"]
    demo = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    try:
        until = time.monotonic() + START_SECONDS
        for line in demo.stdout:
            if "violation log" in line:
                break
            if time.monotonic() > until:
                raise RuntimeError("the demo did not come up")
        found = [rss for pid in _descendants(demo.pid) if (rss := _agent_rss_mib(pid))]
        if not found:
            raise RuntimeError("no agent was found")
        return found
    finally:
        demo.send_signal(signal.SIGINT)
        demo.stdout.close()
        demo.wait(60)


def _descendants(pid: int) -> list[int]:
    found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return found + [further for child in found for further in _descendants(child)]


def _agent_rss_mib(pid: int) -> float:
    """Its memory where a process is an agent; 0 for others."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"sidecar.main" not in arguments or b"/envoy" in arguments.split(b"\0")[0]:
            return 0.0
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(int(row.split()[1]) / 1024 for row in status.splitlines() if row.startswith("VmRSS:"))
