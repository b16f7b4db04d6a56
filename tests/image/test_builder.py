"""What building the image needs of a machine is looked for before it, and named where it lacks."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.harness.serving import serving
from tests.image import builder


class _Mirror(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"Suite: test\n"
        self.send_response(200 if self.path == "/InRelease" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback, asked without the proxy of whoever runs the tests."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget, as debootstrap does")
def test_a_mirror_that_has_the_release_answers_and_others_do_not(mirror: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert builder.answers(f"{mirror}/InRelease")
    assert not builder.answers(f"{mirror}/none/InRelease")
    assert not builder.answers(f"{nobody}/InRelease")


def test_too_little_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "NEEDED_BYTES", 2**60)
    assert f"{2**30} GiB free in {builder.REPOSITORY}" in builder.lacking()
