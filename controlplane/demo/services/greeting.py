"""Protocols in which the server speaks first: mysql, and those that greet with a line. A denied peer must not see the greeting."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from controlplane.demo.services.exchange import (
    Arrived,
    BadFrameError,
    DeclinedError,
    Exchange,
    Reader,
    Writer,
    expect,
    read_line,
    read_sized,
)

# -- mysql: https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html --------------------------------------

_PLUGIN = b"mysql_native_password\0"
_SALT = b"12345678", b"901234567890\0"
#: LONG_PASSWORD, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
_CAPABILITIES = 0x1 | 0x200 | 0x8000 | 0x80000
_UTF8MB4, _AUTOCOMMIT = 45, 2
_QUIT, _QUERY, _PING = 1, 3, 14
_OK = b"\0\0\0" + struct.pack("<HH", _AUTOCOMMIT, 0)
_UNKNOWN_COMMAND = b"\xff" + struct.pack("<H", 1047) + b"#08S01Unknown command"


def _packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number & 0xFF]) + body


async def _read_packet(reader: Reader) -> tuple[int, bytes]:
    header = await reader.readexactly(4)
    return header[3], await read_sized(reader, int.from_bytes(header[:3], "little"))


def _handshake() -> bytes:
    low, high = _CAPABILITIES & 0xFFFF, _CAPABILITIES >> 16
    fixed = struct.pack("<HBHHB10x", low, _UTF8MB4, _AUTOCOMMIT, high, len(_SALT[0] + _SALT[1]))
    return b"\x0a8.4.0-demo\0" + struct.pack("<I", 1) + _SALT[0] + b"\0" + fixed + _SALT[1] + _PLUGIN


async def _serve_mysql(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    writer.write(_packet(0, _handshake()))
    await writer.drain()
    number, login = await _read_packet(reader)
    arrived(login)
    if len(login) < 32:
        raise BadFrameError("a login without its header")
    writer.write(_packet(number + 1, _OK))
    while True:
        await writer.drain()
        number, command = await _read_packet(reader)
        if command[:1] == bytes([_QUIT]):
            return
        known = command[:1] in {bytes([_QUERY]), bytes([_PING])}
        writer.write(_packet(number + 1, _OK if known else _UNKNOWN_COMMAND))


async def _call_mysql(reader: Reader, writer: Writer, marker: bytes) -> None:
    number, greeting = await _read_packet(reader)
    if greeting[:1] != b"\x0a":
        raise DeclinedError(greeting[:100].decode("latin-1"))
    login = struct.pack("<IIB23x", _CAPABILITIES, 2**24, _UTF8MB4) + marker + b"\0\0" + _PLUGIN
    writer.write(_packet(number + 1, login))
    for command in (b"", bytes([_PING])):
        if command:
            writer.write(_packet(0, command))
        _, answer = await _read_packet(reader)
        if answer[:1] != b"\0":
            raise DeclinedError(answer[:100].decode("latin-1"))
    writer.write(_packet(0, bytes([_QUIT])))


MYSQL = Exchange(_serve_mysql, _call_mysql)


# -- greetings of one line --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Greeting:
    """What the server says first, what the client says then (``%b`` is the marker), and how the server answers it."""

    greeting: bytes
    request: bytes
    answer: bytes

    async def serve(self, reader: Reader, writer: Writer, arrived: Arrived) -> None:
        writer.write(self.greeting)
        await writer.drain()
        while line := await read_line(reader):
            arrived(line)
            writer.write(self.answer)
            await writer.drain()

    async def call(self, reader: Reader, writer: Writer, marker: bytes) -> None:
        await expect(reader, self.greeting)
        writer.write(self.request % marker)
        await expect(reader, self.answer)


def _greets(greeting: bytes, request: bytes, answer: bytes) -> Exchange:
    both = _Greeting(greeting, request, answer)
    return Exchange(both.serve, both.call)


SERVER_FIRST = {
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "smtp": _greets(b"220 demo ESMTP\r\n", b"EHLO %b\r\n", b"250 demo\r\n"),
    "ftp": _greets(b"220 demo\r\n", b"USER %b\r\n", b"331 demo\r\n"),
    "ssh": _greets(b"SSH-2.0-demo\r\n", b"SSH-2.0-%b\r\n", b"\0\0\0\x0c\x0a\x14"),
    "imap": _greets(b"* OK demo\r\n", b"a1 LOGIN %b x\r\n", b"a1 OK demo\r\n"),
    "pop3": _greets(b"+OK demo\r\n", b"USER %b\r\n", b"+OK\r\n"),
    "nats": _greets(b'INFO {"server_id":"demo"}\r\n', b'CONNECT {"name":"%b"}\r\n', b"+OK\r\n"),
    "vnc": _greets(b"RFB 003.008\n", b"%b\n", b"\x01\x01"),
}
