"""`picket violations --follow`: each violation once, as it comes, and on after the control plane was away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.harness.plane import PAY, plane


@contextmanager
def following(address: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, until the block ends."""
    # A test run in the background ignores SIGINT, and so would what it starts.
    own = ["env", "--default-signal=INT", sys.executable, "-m", "controlplane.cli.entry"]
    command = [*own, "violations", "--follow", "--server", address, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TZ": "UTC"})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(stream: IO[str] | None) -> str:
    """The next line; the command's end would be an empty one."""
    assert stream is not None
    line = stream.readline()
    assert line
    return line.rstrip("\n")


def test_each_violation_is_shown_once_as_it_comes() -> None:
    with plane() as made:
        made.violate(PAY._replace(path="/first"), seen_ms=0, count=2)
        with made.listening(made.socket) as address, following(address) as process:
            first = line_of(process.stdout)
            assert first == "1970-01-01 00:00:00  denied      frontend -> shop/pay:443  POST /first  x2  deny:shop/pay@r1"
            for path in ("/second", "/third"):
                made.violate(PAY._replace(path=path))
                assert f"POST {path}" in line_of(process.stdout)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out, err) == (0, "", "")


def test_a_control_plane_that_was_away_is_waited_for() -> None:
    with plane() as made:
        made.violate(PAY._replace(path="/first"))
        with made.listening(made.socket) as address:
            waiting = following(address, "--output", "json")
            process = waiting.__enter__()
            try:
                assert json.loads(line_of(process.stdout))["path"] == "/first"
            except BaseException:
                process.kill()
                raise
        try:
            assert "waiting for it" in line_of(process.stderr)
            made.violate(PAY._replace(path="/meanwhile"))
            with made.listening(made.socket):
                assert json.loads(line_of(process.stdout))["path"] == "/meanwhile"
        finally:
            waiting.__exit__(None, None, None)
