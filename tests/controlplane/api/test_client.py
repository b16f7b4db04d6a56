"""The client: which addresses it takes, what it sends where, and what it makes of answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from controlplane.api import client
from controlplane.api.client import ApiError, Client, CutOffError, ServerAddressError, UnreachableError
from tests.harness.serving import serving


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A server that gives one answer to everything; its address, and what it was asked."""
    asked: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((f"{self.command} {self.path}", dict(self.headers), content))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", asked


def test_a_call_carries_token_name_and_body() -> None:
    with answering(200, b'{"fine": true}') as (address, asked):
        client = Client(address, "t-o-k-e-n", "alice")
        assert client.get("/x", {"text": "a&b=c", "limit": 1}) == {"fine": True}
        assert client.post("/y", {"rows": [1]}) == {"fine": True}
    assert [line for line, _, _ in asked] == ["GET /x?text=a%26b%3Dc&limit=1", "POST /y"]
    assert asked[0][1]["Authorization"] == "Bearer t-o-k-e-n"
    assert asked[0][1]["X-Picket-Actor"] == "alice"
    assert (asked[1][1]["Content-Type"], asked[1][2]) == ("application/json", b'{"rows":[1]}')


def test_a_problem_document_is_what_the_error_says() -> None:
    said = b'{"detail": "it is closed", "remedy": "open it", "where": "body.x", "more": 1}'
    with answering(409, said) as (address, _), pytest.raises(ApiError) as refused:
        Client(address).get("/")
    assert (refused.value.status, refused.value.where, str(refused.value)) == (409, "body.x", "it is closed; open it")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"detail": 5}'])
def test_an_error_without_a_problem_document_tells_its_status(body: bytes) -> None:
    with answering(502, body) as (address, _), pytest.raises(ApiError, match="HTTP status 502"):
        Client(address).get("/")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xff"])
def test_another_kind_of_server_is_told(body: bytes) -> None:
    with answering(200, body) as (address, _), pytest.raises(ApiError, match="is not a control plane"):
        Client(address).get("/")


@contextmanager
def cutting(answers: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next of these answers, nothing where one is empty; and what it was sent."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)  # so that a client that never comes is a failure

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", received
        thread.join()


_FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("first", [b"", _BUSY])
def test_a_write_that_was_cut_off_is_sent_again_under_its_key(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_PAUSES_SECONDS", (0.0, 0.0))
    with cutting([first, first, _FINE]) as (address, received):
        assert Client(address).post("/x", {"a": 1}) == {}
    keys = [line for sent in received for line in sent.split(b"\r\n") if line.startswith(b"Idempotency-Key: ")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_read_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with cutting([b""]) as (address, _), pytest.raises(CutOffError):
        Client(address).get("/x")


def test_two_writes_have_keys_of_their_own() -> None:
    with answering(200, b"{}") as (address, asked):
        Client(address).post("/x", {})
        Client(address).post("/x", {})
    assert asked[0][1]["Idempotency-Key"] != asked[1][1]["Idempotency-Key"]


def test_a_redirect_is_not_followed() -> None:
    """It would carry the token elsewhere."""
    with answering(302, b"") as (address, asked), pytest.raises(ApiError):
        Client(address, "t").get("/")
    assert len(asked) == 1


def test_where_nobody_answers_is_told() -> None:
    with pytest.raises(UnreachableError, match=r"no control plane answers at unix:/nowhere\.sock: No such file"):
        Client("unix:/nowhere.sock").get("/")


@pytest.mark.parametrize(
    "text",
    [
        "", "localhost:7600", "unix:relative", "unix:/" + "x" * 107, "ftp://localhost", "http://", "http://localhost:port", "http://localhost/x",
        "http://user@localhost", "http://localhost?x", "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ServerAddressError):
        Client(text)


@pytest.mark.parametrize(
    "text", ["http://10.0.0.1:7600", "http://mesh.example.org", "http://127.evil.example", "http://0.0.0.0:7600"]
)
def test_a_token_does_not_cross_the_network_in_clear(text: str) -> None:
    with pytest.raises(ServerAddressError, match="in clear"):
        Client(text, "token")


@pytest.mark.parametrize(
    "text", ["http://127.9.9.9:1", "http://[::1]:76", "http://localhost", "https://mesh.example.org/", "unix:/a"]
)
def test_addresses_that_are_taken(text: str) -> None:
    assert Client(text, "token").server == text
