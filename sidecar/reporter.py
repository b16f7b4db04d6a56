"""From Envoy's access log to the spool: reads, counts and keeps, and has the log cut. Never sends anything.

A violation that is new is kept within moments, counts at the end of each interval. The position in the log goes into the
spool with what was counted up to it, so that each line counts once, whatever dies when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from sidecar.admin import AdminError
from sidecar.aggregate import Window
from sidecar.logfile import CUT_BYTES, LogFile, Position
from sidecar.spool import Spool

POLL_SECONDS = 0.05
#: A log in which nothing happens is looked at less and less often, down to this: sixty idle sidecars share a machine.
IDLE_POLL_SECONDS = 0.25
#: News follow each other at least so far apart.
NEWS_SECONDS = 0.1
#: With so many batches waiting nobody reads the news; they then keep to the interval.
MAX_EAGER_BATCHES = 16
#: A sidecar that sees nothing says so this often: the control plane tells quiet from blind, and from not there.
SIGN_SECONDS = 600.0
#: And so soon after its start, for the control plane does not know how long it was away.
FIRST_SIGN_SECONDS = 10.0
#: How often Envoy is asked again to open its log anew, and a log that cannot be read is tried again.
RETRY_SECONDS = 1.0
#: How often Envoy is asked whether it could write: a disk that is full costs lines of which the log itself knows nothing.
WRITES_SECONDS = 10.0
#: Lines that say nothing (flows that another sidecar reports) need not be read again after a restart either.
_SILENT_BYTES = 1024 * 1024
_log = logging.getLogger("picket.accesslog")


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    """What the spool keeps of the log: the position, and the latest time that was counted, in ms."""

    position: Position | None
    watermark_ms: int


class Reporter:
    """Follows one access log into one spool."""

    def __init__(
        self,
        access_log: Path,
        spool: Spool,
        *,
        workload: str,
        reopen: Callable[[], Awaitable[object]],
        failed_writes: Callable[[], Awaitable[int]],
        interval_seconds: float,
        cut_bytes: int = CUT_BYTES,
    ) -> None:
        """Take up where the spool's cursor is.

        Args:
            access_log: what Envoy writes.
            spool: where reports go.
            workload: ``namespace/name`` of this sidecar; lines that speak for another count as lost.
            reopen: has Envoy open its log anew (``POST /reopen_logs``); may raise `AdminError`.
            failed_writes: how often Envoy could not write to its log since it started; may raise `AdminError`.
            interval_seconds: how long counts are summed before they are kept.
            cut_bytes: the size at which the log is cut.
        """
        self._spool = spool
        self._reopen = reopen
        self._failed_writes = failed_writes
        self._failed = 0
        self._looked_at = float("-inf")
        self._interval_seconds = interval_seconds
        cursor, lost = _read_cursor(spool.cursor)
        self._kept = cursor.position
        self._log = LogFile(access_log, resume=cursor.position, cut_bytes=cut_bytes)
        self._window = Window(workload, cursor.watermark_ms)
        self._window.lost = lost
        self._window_began = float("-inf")
        self._kept_at = float("-inf")
        self._said_at = float("inf")
        self._asked_at = float("-inf")

    def cut_off(self) -> None:
        """Envoy ended before it could write what it had seen last, or the agent with it: how many lines that were nobody knows."""
        self._window.lost += 1

    async def run(self) -> None:
        """Follow the log until cancelled; then call `finish` once Envoy has ended."""
        self._said_at = asyncio.get_running_loop().time() + FIRST_SIGN_SECONDS - SIGN_SECONDS
        pause_seconds = POLL_SECONDS
        while True:
            try:
                was_read = await self._step()
                pause_seconds = POLL_SECONDS if was_read else min(1.2 * pause_seconds, IDLE_POLL_SECONDS)
                # Others get their turn after each piece.
                await asyncio.sleep(0 if was_read else pause_seconds)
            except OSError as error:
                _log.error("access log cannot be read reason=%r", str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def finish(self) -> None:
        """Read what Envoy wrote before it ended, and keep everything."""
        try:
            while self._read():
                await self._keep_if_due()
            ended = self._log.end()
            self._window.add(ended.lines, ended.lost)
            await self._keep(ends_window=True)
        except OSError as error:
            # What was not kept is still in the log, for the next start.
            _log.error("the end of the access log cannot be read reason=%r", str(error))
        self._log.close()

    async def _step(self) -> bool:
        """Read a piece, keep what is due; whether there was something to read."""
        was_read = self._read()
        await self._keep_if_due()
        await self._cut_if_due()
        await self._count_unwritten()
        return was_read

    def _read(self) -> bool:
        before = self._log.place
        chunk = self._log.read()
        if chunk.lines or chunk.lost:
            self._window.add(chunk.lines, chunk.lost)
        return self._log.place != before

    async def _keep_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._window_began >= self._interval_seconds:
            self._window_began = now
            await self._keep(ends_window=True)
        elif self._window.is_full or (
            self._window.has_news and now - self._kept_at >= NEWS_SECONDS and self._spool.waiting_batches < MAX_EAGER_BATCHES
        ):
            await self._keep(ends_window=False)

    async def _keep(self, *, ends_window: bool) -> None:
        position, now = self._log.position, asyncio.get_running_loop().time()
        has_to_say = bool(self._window or self._spool.lost)
        is_sign = not has_to_say and now - self._said_at >= SIGN_SECONDS
        if not (has_to_say or is_sign or self._has_moved_far(position)):
            return
        self._kept_at = now
        if has_to_say or is_sign:
            self._said_at = now
        cursor = msgspec.msgpack.encode(_Cursor(position, self._window.watermark_ms))
        observations, lost = self._window.take(ends_window=ends_window)
        self._kept = position
        await self._spool.append(observations, lost=lost, cursor=cursor, even_empty=is_sign)
        if position is not None:
            self._log.kept(position)

    def _has_moved_far(self, position: Position | None) -> bool:
        if position is None or self._kept is None:
            return position is not self._kept
        return position.inode != self._kept.inode or abs(position.offset - self._kept.offset) >= _SILENT_BYTES

    async def _cut_if_due(self) -> None:
        if self._log.is_due:
            self._log.cut()
            self._asked_at = float("-inf")
        now = asyncio.get_running_loop().time()
        if not self._log.wants_reopening or now - self._asked_at < RETRY_SECONDS:
            return
        self._asked_at = now
        try:
            await self._reopen()
        except AdminError as error:
            _log.warning("Envoy does not open its access log anew, asking again reason=%r", str(error))

    async def _count_unwritten(self) -> None:
        """What Envoy could not write counts as lost: how many lines that were nobody knows, so each write counts as one."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < WRITES_SECONDS:
            return
        self._looked_at = now
        try:
            failed = await self._failed_writes()
        except AdminError:
            return  # an Envoy that is not there writes nothing
        lost = failed - self._failed if failed >= self._failed else failed  # another Envoy counts from 0
        self._failed = failed
        if lost:
            self._window.lost += lost
            _log.error("Envoy cannot write its access log, what it does is not reported writes=%d; is the disk full?", lost)


def _read_cursor(cursor: bytes) -> tuple[_Cursor, int]:
    """The cursor, and how many lines must be taken for lost."""
    if not cursor:
        return _Cursor(None, 0), 0
    try:
        return msgspec.msgpack.decode(cursor, type=_Cursor), 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        _log.error("the spool does not know where the access log was read to; it is read from its beginning")
        return _Cursor(None, 0), 1
