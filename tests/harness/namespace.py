"""A network namespace of a test's own, in which marked connections are redirected to Envoy, as capture does it.

It belongs to one process that ends with the test, also when the test is killed; nothing on the machine is changed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

CLONE_NEWNET = 0x40000000
#: Connections with this mark are the application's.
MARK = 7
_RULES = """
table inet test {{
  chain output {{
    type nat hook output priority -100; policy accept;
    meta mark {mark} meta l4proto tcp redirect to :{port}
  }}
}}
"""


def missing() -> str:
    """What a namespace needs and is not here; empty when all is."""
    if os.geteuid() != 0:
        return "root"
    return next((program for program in ("unshare", "nsenter", "ip", "nft") if shutil.which(program) is None), "")


class Namespace:
    """Makes sockets in it. ``enter`` is a command that runs another one there."""

    def __init__(self, pid: int) -> None:
        self.enter = ("nsenter", f"--net=/proc/{pid}/ns/net")
        self._handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        # One thread lives in the namespace: sockets stay where they were made.
        self._inside = ThreadPoolExecutor(max_workers=1, initializer=self._move)

    def _move(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket."""
        return self._inside.submit(socket.create_server, (address, port)).result()

    async def connect(self, address: str, port: int) -> socket.socket:
        """The application's own connection: it meets the redirect."""
        made = self._inside.submit(socket.socket).result()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except OSError:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Let it go."""
        self._inside.shutdown()
        os.close(self._handle)


@asynccontextmanager
async def namespace(addresses: Sequence[str], redirect_to: int) -> AsyncIterator[Namespace]:
    """A namespace that has these addresses and nothing else."""
    keeper = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", "echo made; exec cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert keeper.stdout is not None
        assert await keeper.stdout.readline() == b"made\n"
        made = Namespace(keeper.pid)
        try:
            commands = ["ip link set lo up", *(f"ip address add {address}/32 dev lo" for address in addresses)]
            await _run(made, "\n".join(["set -e", *commands]))
            await _run(made, f"nft -f - <<'END'\n{_RULES.format(mark=MARK, port=redirect_to)}\nEND")
            yield made
        finally:
            made.close()
    finally:
        keeper.kill()
        await keeper.wait()


async def _run(inside: Namespace, script: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *inside.enter, "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
