"""Where the gRPC servers listen: addresses that cannot be had are told, and a socket that nobody listens on is no obstacle."""

from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from controlplane.server import listen
from controlplane.settings import Listen


@pytest.fixture
async def server() -> AsyncIterator[grpc.aio.Server]:
    made = listen.mesh_server()
    yield made
    await made.stop(None)


async def test_any_free_port_is_told_with_its_number(server: grpc.aio.Server) -> None:
    host, _, port = listen.bind(server, Listen(host="127.0.0.1"), None).rpartition(":")
    assert host == "127.0.0.1"
    assert 0 < int(port) < 65536
    host, _, port = listen.bind(server, Listen(host="::1"), None).rpartition(":")
    assert host == "[::1]"
    assert int(port)


async def test_a_port_in_use_is_told(server: grpc.aio.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(listen.ListenError, match=f"127.0.0.1:{port}: cannot listen there; is another control plane running"):
            listen.bind(server, Listen(host="127.0.0.1", port=port), None)


async def test_two_servers_do_not_share_a_port(server: grpc.aio.Server) -> None:
    """The kernel would hand each of them half of the sidecars."""
    port = int(listen.bind(server, Listen(host="127.0.0.1"), None).rpartition(":")[2])
    other = listen.enrollment_server()
    with pytest.raises(listen.ListenError):
        listen.bind(other, Listen(host="127.0.0.1", port=port), None)
    await other.stop(None)


async def test_a_plaintext_socket_is_for_this_user_alone(server: grpc.aio.Server, directory: Path) -> None:
    path = directory / "grpc.sock"
    assert listen.bind(server, Listen(path=str(path)), None) == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_socket_that_nobody_listens_on_is_replaced(server: grpc.aio.Server, directory: Path) -> None:
    path = directory / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    listen.bind(server, Listen(path=str(path)), None)
    await server.start()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_socket_that_somebody_listens_on_is_left_alone(directory: Path) -> None:
    path = directory / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(listen.ListenError, match="another process listens there"):
            listen.remove_stale_socket(path)
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_left_alone(directory: Path) -> None:
    path = directory / "notes.txt"
    path.write_text("mine")
    with pytest.raises(listen.ListenError, match="a file that is no socket is there"):
        listen.remove_stale_socket(path)
    assert path.read_text() == "mine"
    listen.remove_stale_socket(directory / "nothing")
