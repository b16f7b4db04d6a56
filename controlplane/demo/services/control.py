"""Takes the demo's orders on a Unix socket: calls to make, and the question what has arrived.

Only the demo's user and the application's own are heard: the socket is the owner's, and the kernel says who connects.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import msgspec

from controlplane.demo.services.arrivals import Arrivals
from controlplane.demo.services.caller import Caller
from controlplane.demo.services.exchange import Reader, Writer
from controlplane.demo.services.messages import MAX_LINE_BYTES, Answer, Ask, Order

#: Calls that one application makes at a time; more wait.
MAX_CALLS = 32
_DECODER = msgspec.json.Decoder(Order)


class Control:
    """One application's ear."""

    def __init__(self, path: str, controller: int, arrivals: Arrivals) -> None:
        self._path = path
        self._users = {controller, os.geteuid()}
        self._arrivals = arrivals
        self._caller = Caller()
        self._room = asyncio.Semaphore(MAX_CALLS)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made there.
        """
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._accept, self._path, limit=MAX_LINE_BYTES)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: Reader, writer: Writer) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                writer.close()  # the demo is to notice at once; what it was is in the log

        try:
            if _peer_user(writer.get_extra_info("socket")) not in self._users:
                return
            while line := await reader.readline():
                order = _DECODER.decode(line)
                if isinstance(order, Ask):
                    _say(writer, self._arrivals.answer(order.id))
                else:
                    task = asyncio.create_task(self._call(order, writer))
                    tasks.add(task)
                    task.add_done_callback(done)
        except (OSError, ValueError):
            pass  # the demo is gone, or what came is not of the demo
        finally:
            for task in tasks:
                task.cancel()
            writer.close()

    async def _call(self, order: Order, writer: Writer) -> None:
        async with self._room:
            assert not isinstance(order, Ask)
            _say(writer, await self._caller.call(order))


def _say(writer: Writer, answer: Answer) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")


def _peer_user(connection: socket.socket) -> int:
    """Who connected: `struct ucred` of unix(7)."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
