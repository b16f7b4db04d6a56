"""Becomes another program: lets go of rights, ties its life to the agent's, then execs. Never returns, never reads a secret.

It stands alone and runs as `python -I -S launch.py PARENT SIGNAL UID GID FLAGS PROGRAM NAME ARGUMENT...`, because what has
to be done between fork and exec cannot be done safely in a process with threads. PARENT is the agent's process ID; SIGNAL is
what the program gets from the kernel when the agent ends in whatever way; a UID of -1 keeps user and group. FLAGS are ``bind``
(ports below 1024 without being root), ``sealed`` (no program that it starts can gain rights), ``files`` (as many open files as
the system lets it have), or ``-``.

Source: prctl(2) PR_SET_PDEATHSIG, whose signal is forgotten when the user changes: so it is asked for last.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 8, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_NET_BIND_SERVICE = 10
_CAPABILITY_VERSION_3 = 0x20080522
_CANNOT_RUN, _NOT_FOUND = 126, 127


def main(arguments: list[str]) -> None:
    """Exec the program, or end with a line on standard error and the exit code that a shell would give."""
    parent, number, uid, gid, flags, program, *command = arguments
    wanted = flags.split(",")
    file = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    if int(uid) >= 0:
        _become(int(uid), int(gid), keep_bind="bind" in wanted)
    if "files" in wanted:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if "sealed" in wanted:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGKILL)  # the agent ended before the kernel was asked
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)  # Python ignores them, and exec would pass that on
    try:
        os.execv(program, command)  # noqa: S606  # becoming another program is its purpose
    except PermissionError:
        # The new user cannot reach the program's directory; the file itself it may still run.
        os.execve(file, command, os.environ)  # noqa: S606  # the same


def _become(uid: int, gid: int, *, keep_bind: bool) -> None:
    os.setgroups([])
    if keep_bind:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep_bind:
        kept = 1 << _CAP_NET_BIND_SERVICE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)
        _checked(ctypes.CDLL(None, use_errno=True).capset(header, sets))
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_NET_BIND_SERVICE)


def _prctl(option: int, *values: int) -> None:
    filled = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, *filled))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"picket: {sys.argv[6]}: cannot be run: {error.strerror}\n")
        sys.exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_RUN)
