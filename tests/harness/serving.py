"""A server of the standard library that answers in a thread of its own, for as long as a test needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer


@contextmanager
def serving(server: TCPServer, before_end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have it answer, and end it; ``before_end`` lets go of handlers that would never end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        before_end()
        server.shutdown()
        thread.join()
        server.server_close()
