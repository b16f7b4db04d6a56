"""The API on real sockets: who may connect, as whom, and how it ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from controlplane.api import listen
from controlplane.api.client import ApiError, Client, UnreachableError
from controlplane.api.listen import ApiServer, ListenError
from controlplane.settings import Listen, parse_listen
from tests.harness.plane import TOKEN, Plane

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def unix(plane: Plane) -> Iterator[str]:
    """The API on a Unix socket, without a token."""
    with plane.listening(plane.socket, token=None) as address:
        yield address


@pytest.fixture
def tcp(plane: Plane) -> Iterator[str]:
    """The API on a free port of loopback."""
    with plane.listening("127.0.0.1:0") as address:
        yield address


def test_a_unix_socket_is_its_users_alone(unix: str, plane: Plane) -> None:
    """Its mode lets nobody else in, and the kernel says who came: no token, and the claim does not count."""
    assert stat.S_IMODE(Path(unix.removeprefix("unix:")).stat().st_mode) == 0o600
    Client(unix, actor="somebody-else").put("/api/v1/modes", {"mode": "audit", "services": ["frontend"]})
    assert plane.store.audit(1)[0].actor == USER


def test_a_tcp_port_asks_for_the_token(tcp: str, plane: Plane) -> None:
    assert tcp.startswith("http://127.0.0.1:")
    for token in (None, "wrong"):
        with pytest.raises(ApiError) as refused:
            Client(tcp, token).get("/api/v1/map")
        assert refused.value.status == 401
    Client(tcp, TOKEN, "alice").put("/api/v1/modes", {"mode": "audit", "services": ["frontend"]})
    assert plane.store.audit(1)[0].actor == "alice (via token)"


def test_without_descriptors_it_waits_and_then_answers(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection waits in line: it is neither lost, nor tried again as fast as a core can."""
    monkeypatch.setattr(listen, "ACCEPT_RETRY_SECONDS", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with plane.listening("127.0.0.1:0") as address, socket.socket() as waiting:
        opened = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (opened, hard))
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):
                    while True:  # what is free below the limit, too
                        stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
                waiting.connect(("127.0.0.1", int(address.rpartition(":")[2])))
                began = time.process_time()
                time.sleep(0.5)
                used_seconds = time.process_time() - began
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert used_seconds < 0.25
        assert capsys.readouterr().out.count("API takes no connections") == 1
        waiting.sendall(b"GET /api/v1/map HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert waiting.makefile("rb").readline().startswith(b"HTTP/1.1 401")


def test_an_ipv6_address_is_served(plane: Plane) -> None:
    try:
        with plane.listening("[::1]:0") as address:
            assert Client(address, TOKEN).get("/api/v1/map")["revision"] == 0
            assert address.startswith("http://[::1]:")
    except ListenError:
        pytest.skip("no IPv6 on this machine's loopback")


def test_an_address_in_use_is_told(tcp: str, plane: Plane, tmp_path: Path) -> None:
    port = int(tcp.rpartition(":")[2])
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: Address already in use; choose another"):
        ApiServer(plane.app(), Listen(host="127.0.0.1", port=port))
    with pytest.raises(ListenError, match=r"nowhere/api\.sock: No such file"):
        ApiServer(plane.app(), Listen(path=f"{tmp_path}/nowhere/api.sock"))
    with pytest.raises(ListenError, match="choose another with --api-listen"):
        ApiServer(plane.app(), Listen(host="no-such-host.invalid", port=1))


def test_a_stopped_listener_is_gone(plane: Plane) -> None:
    before = set(threading.enumerate())
    for address in (plane.socket, "127.0.0.1:0"):
        with plane.listening(address) as where:
            Client(where, TOKEN).get("/api/v1/map")
        with pytest.raises(UnreachableError):
            Client(where, TOKEN).get("/api/v1/map")
    assert not (plane.directory / "api.sock").exists()
    # Others may end meanwhile; none of this one is left.
    assert set(threading.enumerate()) <= before


def test_a_request_under_way_is_finished_before_the_end() -> None:
    arrived, go_on = threading.Event(), threading.Event()
    app = flask.Flask("slow")

    @app.get("/")
    def slow() -> dict[str, str]:
        arrived.set()
        go_on.wait(10)
        return {"done": "yes"}

    server = ApiServer(app, Listen(host="127.0.0.1", port=0))
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(Client(server.address).get("/")))
    caller.start()
    assert arrived.wait(10)
    closing = threading.Thread(target=server.close)
    closing.start()
    go_on.set()
    closing.join()
    caller.join()
    assert answers == [{"done": "yes"}]


def test_a_body_far_too_large_is_not_read(tcp: str) -> None:
    """It is refused by its announced length."""
    host, _, port = tcp.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_server_may_be_stopped_at_any_moment_and_twice(plane: Plane) -> None:
    """A request that ends the loop's wait just then must not let it close what wakes it before it was woken."""

    def call(address: str) -> None:
        with contextlib.suppress(ApiError, UnreachableError):  # it may come too late
            Client(address).get("/healthz")

    for _ in range(60):
        server = ApiServer(plane.app(), parse_listen(plane.socket, "test"))
        calls = [threading.Thread(target=call, args=(server.address,)) for _ in range(2)]
        for thread in calls:
            thread.start()
        server.close()
        server.close()
        for thread in calls:
            thread.join()
