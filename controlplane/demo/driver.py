"""Tells the applications what to call, and asks them what arrived. Never judges an outcome."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from controlplane.demo.services.messages import MAX_LINE_BYTES, Answer, Ask, Call, Outcome, Received

#: What an application may take beyond a call's own time limit before it counts as gone.
GRACE_SECONDS = 60.0
_RETRY_SECONDS = 0.1
_DECODER = msgspec.json.Decoder(Answer)
T = TypeVar("T")


class DriverError(Exception):
    """An application cannot be reached; the message says which."""


class Application:
    """The connection to one application."""

    def __init__(self, name: str, control: Path) -> None:
        self.name = name
        self._control = control
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = itertools.count(1)

    async def connect(self) -> None:
        """Connect as soon as the application listens."""
        while self._writer is None:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._control, limit=MAX_LINE_BYTES)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._reading = asyncio.create_task(self._read(reader))

    async def call(self, order: Call) -> Outcome:
        """Have the application make a call; the order's number is replaced.

        Raises:
            DriverError: the application is gone.
        """
        order = msgspec.structs.replace(order, id=next(self._numbers))
        answer = await self._ask(order, order.timeout_seconds + GRACE_SECONDS)
        assert isinstance(answer, Outcome)
        return answer

    async def received(self) -> Received:
        """What has arrived at the application so far.

        Raises:
            DriverError: the application is gone.
        """
        answer = await self._ask(Ask(next(self._numbers)), GRACE_SECONDS)
        assert isinstance(answer, Received)
        return answer

    async def close(self) -> None:
        """Disconnect."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            self._writer.close()

    async def _ask(self, order: Call | Ask, timeout_seconds: float) -> Answer:
        if self._writer is None or self._reading is None or self._reading.done():
            raise DriverError(f"{self.name}: the application is not there any more")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[order.id] = answered
        try:
            self._writer.write(msgspec.json.encode(order) + b"\n")
            return await asyncio.wait_for(answered, timeout_seconds)
        except TimeoutError as error:
            raise DriverError(f"{self.name}: the application did not answer within {timeout_seconds:g} s") from error
        finally:
            del self._waiting[order.id]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                answer = _DECODER.decode(line)
                waiting = self._waiting.get(answer.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except (OSError, ValueError):
            pass  # told to whoever waits, below
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(DriverError(f"{self.name}: the application is gone"))


class Markers:
    """Gives every call a marker that no other call has, in this run or another."""

    def __init__(self) -> None:
        self._prefix = f"picket-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """A new marker."""
        return f"{self._prefix}-{next(self._numbers)}"


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do things at the same time. Where one of them fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]
