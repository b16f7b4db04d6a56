"""A write whose answer was lost on its way is done once: the client sends it again under its key, and the API knows it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from controlplane.api import client
from controlplane.api.client import ApiError, Client
from tests.harness.plane import TOKEN, Plane


def _request(connection: socket.socket) -> bytes:
    """A whole request."""
    sent = b""
    while b"\r\n\r\n" not in sent:
        sent += connection.recv(65536)
    headers, _, body = sent.partition(b"\r\n\r\n")
    length = next(int(line.partition(b":")[2]) for line in headers.split(b"\r\n") if line.startswith(b"Content-Length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return headers + b"\r\n\r\n" + body


@contextmanager
def losing(address: str, connections: int, lost: int) -> Iterator[str]:
    """A way to a server on which the first answers get lost, after the server gave them."""
    place = urlsplit(address)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)  # so that a client that never comes is a failure

        def carry() -> None:
            for number in range(connections):
                near, _ = listening.accept()
                with near, socket.create_connection((str(place.hostname), int(place.port or 0))) as far:
                    far.sendall(_request(near))
                    far.shutdown(socket.SHUT_WR)
                    answer = b""
                    while piece := far.recv(65536):
                        answer += piece
                    if number >= lost:
                        near.sendall(answer)

        thread = threading.Thread(target=carry)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_PAUSES_SECONDS", (0.0, 0.0))


def test_a_write_is_done_once_though_its_answer_was_lost_twice(plane: Plane) -> None:
    body = {"source": "shop/pay", "destination": "shop/redis", "port": 6379, "seconds": 60, "reason": "the import is late"}
    with plane.listening("127.0.0.1:0") as address, losing(address, 3, 2) as way:
        answer = Client(way, TOKEN).post("/api/v1/break-glass", body)
    assert answer["grant"]["id"] == 1
    assert len(plane.store.grants(10, active=False)) == 1
    assert [event.action for event in plane.store.audit(10)] == ["break-glass:grant"]


def test_a_secret_whose_answer_was_lost_is_told_to_be_lost(plane: Plane) -> None:
    """It was shown once, to nobody, and is kept nowhere."""
    with plane.listening("127.0.0.1:0") as address, losing(address, 2, 1) as way, pytest.raises(ApiError, match="is not kept"):
        Client(way, TOKEN).post("/api/v1/tokens", {"workload": "cart"})
    assert len(plane.tokens) == 1
