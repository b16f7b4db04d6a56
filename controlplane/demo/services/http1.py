"""HTTP/1.1: a server that answers every request with 200, and a client of one request. Bodies are read and thrown away.

Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

from collections.abc import Callable

from controlplane.demo.services.exchange import BadFrameError, DeclinedError, Reader, Writer, read_line
from controlplane.demo.services.messages import MARKER_HEADER

MAX_HEADERS = 200
MAX_BODY_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


async def serve(reader: Reader, writer: Writer, service: str, arrived: Callable[[str], None]) -> None:
    """Answer a connection's requests until it ends; ``arrived`` hears each request's marker, empty when it has none.

    Raises:
        BadFrameError, EOFError, OSError: the client broke the protocol or is gone.
    """
    while line := await read_line(reader):
        parts = line.decode("latin-1").split()
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadFrameError("a request line is wanted")
        headers = await _headers(reader)
        arrived(headers.get(MARKER_HEADER, ""))
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await _skip_body(reader, headers)
        body = f"{service} got {parts[0]} {parts[1][:200]}\n".encode("utf-8", "replace")
        closing = headers.get("connection", "").lower() == "close" or parts[2] == "HTTP/1.0"
        connection = "connection: close\r\n" if closing else ""
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{connection}content-length: {len(body)}\r\n\r\n".encode())
        writer.write(b"" if parts[0] == "HEAD" else body)
        await writer.drain()
        if closing:
            return


async def call(reader: Reader, writer: Writer, *, method: str, path: str, host: str, marker: str) -> None:
    """Send one request and read its answer.

    Raises:
        DeclinedError: the status is not a good one.
        BadFrameError, EOFError, OSError: there was no whole answer.
    """
    body = b"" if method in {"GET", "HEAD", "OPTIONS", "DELETE"} else b"{}"
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{MARKER_HEADER}: {marker}\r\nuser-agent: picket-demo\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    line = await read_line(reader)
    if not line:
        raise EOFError
    parts = line.decode("latin-1").split(maxsplit=2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1."):
        raise BadFrameError("a status line is wanted")
    headers = await _headers(reader)
    said = b"" if method == "HEAD" else await _skip_body(reader, headers)
    if not parts[1].startswith("2"):
        raise DeclinedError(f"{parts[1]} {said[:120].decode('utf-8', 'replace').strip()}")


async def _headers(reader: Reader) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = await read_line(reader)
        if line in {b"\r\n", b"\n"}:
            return found
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadFrameError("a header is wanted")
        found[name.strip().lower()] = value.strip()
    raise BadFrameError(f"more than {MAX_HEADERS} headers")


async def _skip_body(reader: Reader, headers: dict[str, str]) -> bytes:
    """Read a body to its end. Returns its first bytes."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        kept, size = b"", -1
        while size != 0:
            size = _size((await read_line(reader)).partition(b";")[0], 16)
            kept = kept or await _skip(reader, size)
            await read_line(reader)
        return kept
    if "content-length" in headers:
        return await _skip(reader, _size(headers["content-length"].encode(), 10))
    return b""


async def _skip(reader: Reader, size: int) -> bytes:
    kept = b""
    while size > 0:
        part = await reader.readexactly(min(size, _CHUNK_BYTES))
        kept = kept or part[:1024]
        size -= len(part)
    return kept


def _size(text: bytes, base: int) -> int:
    try:
        size = int(text.strip(), base)
    except ValueError as error:
        raise BadFrameError("a size is wanted") from error
    if not 0 <= size <= MAX_BODY_BYTES:
        raise BadFrameError(f"a body of {size} bytes")
    return size
