"""What a sidecar's agent costs: what its imports take, and its memory while it runs a small mesh's policy with a real Envoy.

Imports are measured from compiled modules, against a bare interpreter; the raw limit is importing gRPC alone. Memory is that of the
agents of a running demo (Bookinfo) under enforcement.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measurement import Measurement, median

ROUNDS = 11
START_SECONDS = 90.0


def run() -> list[Measurement]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as cache:
        agent, bare, grpc = (_cpu_ms(code, cache) for code in ("import sidecar.main, sidecar.agent", "pass", "import grpc.aio"))
    rss = _agents_rss_mib()
    return [
        Measurement("sidecar agent imports, CPU above a bare interpreter", agent - bare, "ms", 100, raw=grpc - bare),
        Measurement("sidecar agent RSS, enforcing", median(rss), "MiB", 40, detail={"largest": max(rss), "agents": len(rss)}),
    ]


def _cpu_ms(code: str, cache: str) -> float:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    found = []
    for _ in range(ROUNDS + 1):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        found.append(spent * 1000)
    return median(found[1:])


def _agents_rss_mib() -> list[float]:
    """The demo stays up after its tour; then its agents are looked at."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "demo", "--topology", "bookinfo", "--approve-all"]
    demo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
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
