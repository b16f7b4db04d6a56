"""A child process of the agent, by way of `launch`: it ends when the agent ends, however that happens. Knows no Envoy."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

_LAUNCH = Path(__file__).with_name("launch.py")


class ProcessError(Exception):
    """A program cannot be started; the message says which and why."""


class Program(msgspec.Struct, frozen=True):
    """What to run and how.

    ``command`` is the program's absolute path and its arguments. ``user`` is (user, group) to become, or nothing to stay who
    the agent is. ``output`` is a file descriptor for standard output and error, or nothing to share the agent's. ``held`` are
    descriptors that stay open in it. ``binds_low_ports``, ``sealed`` and ``many_files`` are the flags of `launch`.
    """

    command: tuple[str, ...]
    user: tuple[int, int] | None = None
    directory: Path | None = None
    environment: Mapping[str, str] | None = None
    output: int | None = None
    held: Sequence[int] = ()
    binds_low_ports: bool = False
    sealed: bool = False
    many_files: bool = False
    umask: int = 0o022


class Child:
    """A started program, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended, as a shell has it (128 + signal); nothing while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> int:
        """Wait for its end. Returns `code`."""
        await self._process.wait()
        code = self.code
        assert code is not None
        return code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, grace_seconds: float) -> int:
        """End it and what it started: ask, wait, then kill. Returns its exit code."""
        self.send(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self.wait()
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kill it and what is left of its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def start(program: Program) -> Child:
    """Start a program. Its end with 126 or 127 says that it could not be run, as in a shell.

    Raises:
        ProcessError: the system gives no process, or this Python is not where it was.
    """
    uid, gid = program.user or (-1, -1)
    asked = {"bind": program.binds_low_ports, "sealed": program.sealed, "files": program.many_files}
    flags = [flag for flag, is_asked in asked.items() if is_asked]
    try:
        process = await asyncio.create_subprocess_exec(
            # -I -S: the program's environment must not reach into the launcher.
            sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(signal.SIGKILL)), str(uid), str(gid),
            ",".join(flags) or "-", program.command[0], *program.command,
            stdin=asyncio.subprocess.DEVNULL if program.output is not None else None,
            stdout=program.output, stderr=program.output, cwd=program.directory, env=program.environment,
            pass_fds=tuple(program.held), umask=program.umask, process_group=0,
        )  # fmt: skip
    except OSError as error:
        raise ProcessError(f"{program.command[0]} cannot be started: {error}") from error
    return Child(process)
