"""Two network namespaces with a wire between them, and sockets in them that belong to chosen users. Needs root."""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401  # as another user it may not be readable any more
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_READING = "-all,+dac_read_search"
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


def missing() -> str:
    """What keeps this machine from making namespaces; empty when nothing does."""
    if os.geteuid() != 0:
        return "namespaces need root"
    absent = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if absent:
        return f"{' and '.join(absent)} not found: apt-get install iproute2 nftables"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "this machine makes no network namespaces"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace with an address of each family."""

    name: str
    ipv4: str
    ipv6: str

    def run(self, act: Callable[[], T], *, uid: int = 0, gid: int = 0) -> T:
        """Do something inside, in a thread whose sockets and files belong to a user and a group."""
        results: list[T] = []
        errors: list[BaseException] = []

        def inside() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if libc.setns(handle, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                libc.setfsgid(gid)
                libc.setfsuid(uid)
                results.append(act())
            except BaseException as error:  # noqa: BLE001  # told to whoever asked
                errors.append(error)
            finally:
                os.close(handle)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def command(self, *arguments: str) -> str:
        """Run a program inside and return what it printed."""
        done = subprocess.run(["ip", "netns", "exec", self.name, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces that reach each other; removed afterwards, with what an earlier run that crashed left behind."""
    _sweep()
    run = f"picket-test-{os.getpid()}-{next(_numbers)}"
    made = [Namespace(f"{run}-{number}", f"10.77.0.{number}", f"fd77::{number}") for number in (1, 2)]
    try:
        for space in made:
            _ip("netns", "add", space.name)
        _ip("link", "add", "eth0", "netns", made[0].name, "type", "veth", "peer", "name", "eth0", "netns", made[1].name)
        for space in made:
            _ip("-n", space.name, "address", "add", f"{space.ipv4}/24", "dev", "eth0")
            _ip("-n", space.name, "address", "add", f"{space.ipv6}/64", "dev", "eth0", "nodad")
            for link in ("lo", "eth0"):
                _ip("-n", space.name, "link", "set", link, "up")
            _ip("-n", space.name, "route", "add", "default", "dev", "eth0")
        yield made[0], made[1]
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "delete", space.name], capture_output=True, check=False)


def _sweep() -> None:
    directory = Path("/run/netns")
    for path in directory.glob("picket-test-*") if directory.is_dir() else ():
        if not Path(f"/proc/{path.name.split('-')[2]}").exists():
            subprocess.run(["ip", "netns", "delete", path.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)


def as_user(uid: int) -> list[str]:
    """What to put before a command to run it as a user who has no right but to read: the interpreter may be in root's home."""
    return [
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={_READING}", f"--ambient-caps={_READING}", f"--bounding-set={_READING}",
    ]  # fmt: skip
