"""Events, and receivers on loopback that take what sinks really send."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controlplane.flows.model import EdgeKey, Verdict, Violation
from controlplane.sinks.event import Event, of_violation
from tests.harness.serving import serving

PAY = EdgeKey("default/frontend", "shop/pay", 443, "http", "POST", "/charge")


def violation(
    number: int = 1,
    edge: EdgeKey = PAY,
    verdict: Verdict = Verdict.DENIED,
    *,
    host: str = "",
    peer_address: str = "",
    reason: str = "",
) -> Violation:
    return Violation(
        number, edge, verdict, "shop/pay", "in", 2, 1_000, 2_000, host, "", peer_address, f"deny:{edge.destination}@r1", reason
    )


def event(number: int = 1) -> Event:
    return of_violation(violation(number))


@dataclass
class Receiver:
    """What a server was sent. ``answers`` are the statuses that it gives, the last one for ever."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int) -> None:
        """Until so many requests came."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.received) >= count, 60)


@contextmanager
def receiving(status: int = 200, location: str = "", context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """An HTTP server; with a context over TLS, for localhost."""
    receiver = Receiver(answers=[status])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.came:
                receiver.received.append((dict(self.headers), body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                receiver.came.notify_all()
            self.send_response(answer)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever does not trust us goes away in the middle."""

    server = Server(("127.0.0.1", 0), Handler)
    place = f"http://127.0.0.1:{server.server_port}"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        place = f"https://localhost:{server.server_port}"
    receiver.url = f"{place}/in?token=in-the-address"
    with serving(server):
        yield receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def tcp() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A TCP listener's port, and what reads one connection to its end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)

        def read() -> bytes:
            connection, _ = listening.accept()
            found = b""
            with connection:
                while piece := connection.recv(65536):
                    found += piece
            return found

        yield listening.getsockname()[1], read
