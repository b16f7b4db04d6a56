"""Whole sidecars as processes, with a real Envoy and a small application, for tests of how they start, fail and end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane.server import listen
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from tests.harness.mesh import CART, TRUST_DOMAIN, Mesh
from tests.sidecar.waiting import has_ended, text_of, until

#: Addresses of this process's own, so that runs side by side do not meet.
_NET = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
SIDECAR, APPLICATION, PORT = f"{_NET}.2", f"{_NET}.3", 18080
_PORTS = (Port(PORT, "http", PORT),)
EXPLICIT = Topology.of(
    (Service(ServiceName("shop", "cart"), Kind.SERVICE, _PORTS, (SIDECAR,), (SIDECAR,), APPLICATION, "explicit"),)
)
#: Answers with its process ID, after the seconds in the path (/slow/1.5); ends with 7 when it is told to.
APPLICATION_CODE = """
import http.server, os, signal, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/slow/"):
            print("slow", flush=True)
            time.sleep(float(self.path.rpartition("/")[2]))
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), os._exit(7)))
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("listening", flush=True)
server.serve_forever()
"""


def write_join(directory: Path, mesh: Mesh, **changed: object) -> Path:
    """A join file for shop/cart with a good token."""
    document: dict[str, object] = {
        "control_plane": mesh.socket, "enrollment": mesh.enrollment, "trust_domain": TRUST_DOMAIN, "workload": str(CART),
        "token": mesh.admission.new_token(CART, 0, "test"), "bundle_pem": mesh.authority.bundle_pem.decode(),
        "server_name": listen.SERVER_NAME, "insecure": False,
    } | changed  # fmt: skip
    path = directory / "join.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


class Sidecar:
    """One agent's process."""

    def __init__(self, directory: Path, process: asyncio.subprocess.Process) -> None:
        self.directory = directory
        self.process = process

    @property
    def log(self) -> str:
        """What it and its application said."""
        return text_of(self.directory / "sidecar.log")

    async def says(self, words: str, times: int = 1) -> None:
        """Wait for words in the log; fail when it ends without them."""
        await until(lambda: self.log.count(words) >= times or self.process.returncode is not None)
        assert self.log.count(words) >= times, self.log

    def pid_of(self, what: str) -> int:
        """The process ID of the last ``envoy`` or ``application`` that it started."""
        return int(self.log.rpartition(f"{what} started pid=")[2].split()[0])

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its children are gone by then, or soon after a kill."""
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            code = await self.process.wait()
        pids = [self.pid_of(what) for what in ("envoy", "application") if f"{what} started" in self.log]
        await until(lambda: all(has_ended(pid) for pid in pids))
        return code


def command(directory: Path, join: Path, options: Sequence[str], application: Sequence[str]) -> list[str]:
    """The sidecar's command line."""
    user = ["--app-user", "65534:65534"] if os.geteuid() == 0 and application else []
    return [
        sys.executable, "-m", "sidecar.main", "--join", str(join), "--state", str(directory / "state"), "--capture", "explicit",
        "--instance", "cart-1", "--report-interval-seconds", "0.2", *user, *options, *(["--", *application] if application else []),
    ]  # fmt: skip


def application(address: str = APPLICATION, port: int = PORT) -> list[str]:
    """The command of the small application."""
    return [sys.executable, "-I", "-S", "-c", APPLICATION_CODE, address, str(port)]


@asynccontextmanager
async def running_sidecar(directory: Path, line: Sequence[str]) -> AsyncIterator[Sidecar]:
    """A sidecar, killed afterwards if it still runs."""
    with (directory / "sidecar.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(*line, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    sidecar = Sidecar(directory, process)
    try:
        yield sidecar
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def get(path: str = "/", address: str = SIDECAR, port: int = PORT) -> tuple[int, str]:
    """A plaintext request: status and body, or 0 and the error's name."""

    def ask() -> tuple[int, str]:
        connection = http.client.HTTPConnection(address, port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, type(error).__name__
        finally:
            connection.close()

    return await asyncio.to_thread(ask)
