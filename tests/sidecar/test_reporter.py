"""From the log to the spool: soon what is new, once what is counted, also when the agent is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from protos.picket.v1.telemetry_pb2 import DENIED, Observation
from sidecar import reporter as module
from sidecar.admin import AdminError
from sidecar.reporter import Reporter
from sidecar.spool import Spool
from tests.sidecar.envoylines import http
from tests.sidecar.received import received

AN_HOUR = 3600.0
DENIED_LINE = http(detail="rbac_access_denied_matched_policy[deny:shop/cart@r7]", path="/admin")


class Log:
    """Envoy's side of the log: keeps its file open until it is told to open it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0
        self.refusals = 0
        self.failed: int | None = 0
        self._file: IO[bytes] = path.open("ab")

    def write(self, *lines: bytes) -> None:
        self._file.write(b"".join(lines))
        self._file.flush()

    async def reopen(self) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise AdminError("/reopen_logs: no answer from Envoy")
        self.reopen_now()

    async def failed_writes(self) -> int:
        if self.failed is None:
            raise AdminError("/stats: no answer from Envoy")
        return self.failed

    def reopen_now(self) -> None:
        self._file.close()
        self._file = self.path.open("ab")

    def close(self) -> None:
        self._file.close()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = Log(tmp_path / "access.log")
    yield opened
    opened.close()


def open_spool(directory: Path) -> Spool:
    return Spool.open(directory / "spool", instance="cart-1", owner="shop/cart")


def reporter_of(log: Log, spool: Spool, *, interval_seconds: float = AN_HOUR, cut_bytes: int = 10**9) -> Reporter:
    return Reporter(
        log.path, spool, workload="shop/cart", reopen=log.reopen, failed_writes=log.failed_writes,
        interval_seconds=interval_seconds, cut_bytes=cut_bytes,
    )  # fmt: skip


def observations(spool: Spool) -> list[Observation]:
    return [seen for _, body in spool.after(0, 10_000) for seen in received(body).observations]


def total(spool: Spool) -> int:
    return sum(seen.count for seen in observations(spool))


async def test_a_new_violation_is_kept_long_before_the_interval_ends(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    running = asyncio.create_task(reporter_of(log, spool).run())
    await asyncio.sleep(0.2)  # the first window begins
    log.write(http(), DENIED_LINE)
    async with asyncio.timeout(30):
        await spool.wait_for(0)
    running.cancel()
    assert [(seen.verdict, seen.count) for seen in observations(spool) if seen.verdict == DENIED] == [(DENIED, 1)]


async def test_counts_wait_for_the_end_of_the_interval(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    log.write(http())
    reporter = reporter_of(log, spool, interval_seconds=0.1)
    running = asyncio.create_task(reporter.run())
    async with asyncio.timeout(30):
        await spool.wait_for(0)
        log.write(*(http(id=n) for n in range(50)))
        await spool.wait_for(1)
    running.cancel()
    await reporter.finish()
    assert total(spool) == 51


async def test_the_end_of_the_log_is_reported_after_envoy_has_ended(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool)
    running = asyncio.create_task(reporter.run())
    await asyncio.sleep(0.2)
    log.write(*(http(id=n) for n in range(5_000)), http()[:50])
    running.cancel()
    await reporter.finish()
    assert total(spool) == 5_000
    assert sum(received(body).lost for _, body in spool.after(0, 9)) == 1, "the line that was never finished"


async def test_a_quiet_log_fills_no_spool(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool, interval_seconds=0.01)
    log.write(http())
    running = asyncio.create_task(reporter.run())
    await asyncio.sleep(0.5)
    running.cancel()
    await reporter.finish()
    assert spool.waiting_batches == 1


async def test_a_sidecar_says_soon_after_its_start_that_it_watches(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane does not know how long it was away."""
    monkeypatch.setattr(module, "FIRST_SIGN_SECONDS", 0.05)
    spool = open_spool(tmp_path)
    running = asyncio.create_task(reporter_of(log, spool, interval_seconds=0.01).run())
    async with asyncio.timeout(30):
        await spool.wait_for(0)
    await asyncio.sleep(0.2)
    running.cancel()
    assert (spool.waiting_batches, observations(spool), spool.lost) == (1, [], 0)


async def test_what_envoy_could_not_write_is_told_as_lost(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full costs lines that the log knows nothing of: the sidecar is blind, not quiet. A new Envoy counts anew."""
    monkeypatch.setattr(module, "WRITES_SECONDS", 0.01)
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool, interval_seconds=0.01)
    running = asyncio.create_task(reporter.run())
    for said, batches in ((2, 1), (None, 1), (1, 2), (3, 3)):
        log.failed = said
        async with asyncio.timeout(30):
            await spool.wait_for(batches - 1)
        await asyncio.sleep(0.05)
    running.cancel()
    await reporter.finish()
    assert [received(body).lost for _, body in spool.after(0, 99)] == [2, 1, 2]


async def test_a_sidecar_that_sees_nothing_says_so_now_and_then(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane then knows that it watches: quiet is not blind."""
    monkeypatch.setattr(module, "SIGN_SECONDS", 0.05)
    spool = open_spool(tmp_path)
    log.write(http())
    running = asyncio.create_task(reporter_of(log, spool, interval_seconds=0.01).run())
    async with asyncio.timeout(30):
        await spool.wait_for(3)
    running.cancel()
    assert total(spool) == 1


async def test_a_log_that_grows_is_cut_and_no_line_is_lost_or_counted_twice(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool, interval_seconds=0.05, cut_bytes=20_000)
    running = asyncio.create_task(reporter.run())
    for n in range(1_000):
        log.write(http(id=n))
        if n % 50 == 0:
            await asyncio.sleep(0.1)
    running.cancel()
    await reporter.finish()
    assert log.asked >= 3
    assert total(spool) == 1_000


async def test_an_envoy_that_does_not_answer_is_asked_again(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    log.refusals = 3
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool, interval_seconds=0.05, cut_bytes=1)
    running = asyncio.create_task(reporter.run())
    log.write(http(id=1))
    async with asyncio.timeout(30):
        while log.asked < 4:
            log.write(http(id=2))
            await asyncio.sleep(0.02)
    assert not running.done()
    running.cancel()
    await reporter.finish()
    assert all(received(body).lost == 0 for _, body in spool.after(0, 1_000))


async def test_a_restart_reads_on_where_the_last_batch_ended(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    log.write(http(id=1))
    await reporter_of(log, spool).finish()
    log.write(http(id=2), http(id=3))
    again = open_spool(tmp_path)
    await reporter_of(log, again).finish()
    assert [seen.count for seen in observations(again)] == [1, 2]


async def test_a_log_that_cannot_be_read_is_tried_again(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    spool = open_spool(tmp_path)
    reporter = reporter_of(log, spool, interval_seconds=0.01)
    pread, failures = os.pread, iter([True] * 3)

    def failing(handle: int, size: int, offset: int) -> bytes:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return pread(handle, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    log.write(http())
    running = asyncio.create_task(reporter.run())
    async with asyncio.timeout(30):
        await spool.wait_for(0)
    running.cancel()
    assert total(spool) == 1


async def test_a_cursor_that_cannot_be_read_is_a_loss(tmp_path: Path, log: Log) -> None:
    spool = open_spool(tmp_path)
    await spool.append([], lost=0, cursor=b"\xc1")
    log.write(http())
    await reporter_of(log, spool).finish()
    assert total(spool) == 1
    assert sum(received(body).lost for _, body in spool.after(0, 9)) == 1


def test_killed_at_any_moment_every_line_is_counted_exactly_once(tmp_path: Path) -> None:
    """A process follows a growing log and is killed again and again; what is acknowledged in between leaves the spool."""
    chance = random.Random(7)
    log = Log(tmp_path / "access.log")
    counted: dict[str, int] = {}
    taken: set[tuple[str, int]] = set()
    written = 0

    def collect(*, acknowledge: bool) -> None:
        spool = open_spool(tmp_path)
        for sequence, body in spool.after(0, 100_000):
            batch = received(body)
            assert batch.lost == 0
            if (batch.epoch, sequence) in taken:
                continue
            taken.add((batch.epoch, sequence))
            for seen in batch.observations:
                counted[seen.peer_address] = counted.get(seen.peer_address, 0) + seen.count
        if acknowledge:
            spool.acknowledge(spool.epoch, spool.last_sequence)
            spool.close()

    try:
        for _ in range(8):
            child = subprocess.Popen([sys.executable, "-m", "tests.sidecar.reporting", str(tmp_path)])
            try:
                until = time.monotonic() + 0.4 + chance.random() / 2
                while time.monotonic() < until:
                    for _ in range(chance.randrange(20)):
                        log.write(http(id=written, remote=f"10.0.{written // 250}.{written % 250}"))
                        written += 1
                    if (tmp_path / "reopen").exists():
                        (tmp_path / "reopen").unlink()
                        log.reopen_now()
                    time.sleep(0.002)
                assert child.poll() is None
                os.kill(child.pid, signal.SIGKILL)
            finally:
                with suppress(ProcessLookupError):
                    child.kill()
                child.wait()
            collect(acknowledge=chance.random() < 0.5)
        asyncio.run(_finish(log, tmp_path))
        collect(acknowledge=False)
    finally:
        log.close()
    assert written > 1_000
    assert len(counted) == written
    assert set(counted.values()) == {1}


async def _finish(log: Log, directory: Path) -> None:
    await reporter_of(log, open_spool(directory)).finish()
