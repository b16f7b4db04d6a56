"""Drives a process of ADS clients (`tests.bench.clients`): starts it, and waits for what arrives there. Measures nothing itself."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

TIMEOUT_SECONDS = 60.0


@dataclass
class Fleet:
    """The clients' arrivals as far as they were asked for: (client, type, seconds of the monotonic clock)."""

    process: asyncio.subprocess.Process
    arrivals: list[tuple[int, str, float]] = field(default_factory=list)

    async def ask(self) -> int:
        """Ask for what has arrived. Returns how much was new."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        before = len(self.arrivals)
        self.process.stdin.write(b"\n")
        while (line := await self.process.stdout.readline()) != b"end\n":
            client, kind, at = line.split()
            self.arrivals.append((int(client), kind.decode(), float(at)))
        return len(self.arrivals) - before

    async def until(self, met: Callable[[], bool], every_seconds: float = 0.1) -> None:
        """Wait until the arrivals are as wanted."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                await asyncio.sleep(every_seconds)
                await self.ask()
                if met():
                    return

    async def quiet(self, seconds: float = 0.5) -> None:
        """Wait until nothing has arrived for a while."""
        await self.ask()
        while await self._anything(seconds):
            pass

    async def _anything(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return await self.ask()

    def first(self, wanted: Sequence[int], short_type: str, since: float) -> list[float]:
        """Seconds from ``since`` to each wanted client's first response of a type; shorter while some have none."""
        found: dict[int, float] = {}
        for client, kind, at in reversed(self.arrivals):
            if at < since:
                break
            if kind == short_type and client in wanted:
                found[client] = at - since
        return list(found.values())


@asynccontextmanager
async def fleet(target: str, root_pem: bytes, clients: Sequence[dict[str, str]], *, raw: bool = False) -> AsyncIterator[Fleet]:
    """Clients that are connected and have their first configuration."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.clients", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told = {"target": target, "root_pem": root_pem.decode(), "clients": list(clients), "raw": raw}
    process.stdin.write(msgspec.json.encode(told) + b"\n")
    found = Fleet(process)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS * 2):
            assert await process.stdout.readline() == b"ready\n"
        yield found
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def now() -> float:
    """The clock of arrivals."""
    return time.monotonic()
