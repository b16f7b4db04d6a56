"""A plain HTTP client that sends just the bytes it is told to, for tests of small servers."""

from __future__ import annotations

import asyncio


async def ask(port: int, request: bytes, address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Status and body of the answer; 0 where the connection is closed without one."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(request)
        answer = await reader.read()
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (0, b"")


async def get(port: int, path: str, address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Ask for a path."""
    return await ask(port, f"GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n".encode(), address)
