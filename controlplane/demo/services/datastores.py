"""Datastores in which the client speaks first: redis, postgres and mongo.

Each server answers what a real client sends to see whether it is there, and no more.
"""

from __future__ import annotations

import struct

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

MAX_ARGUMENTS = 1024


# -- redis: https://redis.io/docs/latest/develop/reference/protocol-spec/ ---------------------------------------------


async def _read_command(reader: Reader) -> list[bytes]:
    line = await read_line(reader)
    if not line.startswith(b"*"):
        return line.split()
    arguments = []
    count = _number(line[1:])
    if not 0 <= count <= MAX_ARGUMENTS:
        raise BadFrameError(f"a command of {count} arguments")
    for _ in range(count):
        header = await read_line(reader)
        if not header.startswith(b"$"):
            raise BadFrameError("a bulk string is wanted")
        arguments.append((await read_sized(reader, _number(header[1:]) + 2))[:-2])
    return arguments


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadFrameError("a number is wanted") from error


def _redis_answer(arguments: list[bytes], kept: dict[bytes, bytes]) -> bytes:
    match [arguments[0].upper(), *arguments[1:]]:
        case [b"PING"]:
            return b"+PONG\r\n"
        case [b"PING" | b"ECHO", text]:
            return _bulk(text)
        case [b"SET", key, value, *_] if len(kept) < MAX_ARGUMENTS or key in kept:
            kept[key] = value
            return b"+OK\r\n"
        case [b"GET", key]:
            return _bulk(kept[key]) if key in kept else b"$-1\r\n"
        case [b"CLIENT" | b"SELECT", *_]:
            return b"+OK\r\n"
        case [b"COMMAND", *_]:
            return b"*0\r\n"
        case _:
            return b"-ERR unknown command\r\n"


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


async def _serve_redis(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    kept: dict[bytes, bytes] = {}
    while arguments := await _read_command(reader):
        arrived(b" ".join(arguments))
        writer.write(_redis_answer(arguments, kept))
        await writer.drain()


async def _call_redis(reader: Reader, writer: Writer, marker: bytes) -> None:
    writer.write(b"*3\r\n$3\r\nSET\r\n$6\r\npicket\r\n" + _bulk(marker) + b"*2\r\n$3\r\nGET\r\n$6\r\npicket\r\n")
    await expect(reader, b"+OK\r\n" + _bulk(marker))


# -- postgres: https://www.postgresql.org/docs/current/protocol-message-formats.html ----------------------------------

_SSL_REQUEST, _GSS_REQUEST, _VERSION_3 = 80877103, 80877104, 3 << 16
_READY = b"Z\0\0\0\5I"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


async def _startup(reader: Reader) -> tuple[int, bytes]:
    size, code = struct.unpack("!II", await reader.readexactly(8))
    return code, await read_sized(reader, size - 8)


async def _serve_postgres(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    code, body = await _startup(reader)
    while code in {_SSL_REQUEST, _GSS_REQUEST}:
        writer.write(b"N")
        code, body = await _startup(reader)
    if code >> 16 != 3:
        raise BadFrameError(f"version {code >> 16}")
    arrived(body)
    parameters = b"".join(
        _message(b"S", name + b"\0" + value + b"\0")
        for name, value in ((b"server_version", b"17.0"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on"))
    )
    writer.write(_message(b"R", struct.pack("!I", 0)) + parameters + _READY)
    column = b"\0\1one\0" + struct.pack("!IhIhih", 0, 0, 23, 4, -1, 0)
    row = b"\0\1" + struct.pack("!I", 1) + b"1"
    while True:
        kind, size = struct.unpack("!cI", await reader.readexactly(5))
        body = await read_sized(reader, size - 4)
        if kind == b"X":
            return
        if kind == b"Q":
            arrived(body)
            writer.write(_message(b"T", column) + _message(b"D", row) + _message(b"C", b"SELECT 1\0") + _READY)
        elif kind == b"S":
            writer.write(_READY)
        else:
            writer.write(_message(b"E", b"SERROR\0C0A000\0Monly simple queries are answered here\0\0"))
        await writer.drain()


async def _call_postgres(reader: Reader, writer: Writer, marker: bytes) -> None:
    body = struct.pack("!I", _VERSION_3) + b"user\0" + marker + b"\0database\0demo\0\0"
    writer.write(struct.pack("!I", len(body) + 4) + body)
    while True:
        kind, size = struct.unpack("!cI", await reader.readexactly(5))
        answer = await read_sized(reader, size - 4)
        if kind == b"E":
            raise DeclinedError(answer.decode("latin-1"))
        if kind == b"Z":
            return


# -- mongo: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ --------------------------------------

_OP_MSG = 2013


def _bson(**fields: str | float) -> bytes:
    body = b""
    for name, value in fields.items():
        key = name.encode() + b"\0"
        match value:
            case bool():
                body += b"\x08" + key + bytes([value])
            case int():
                body += b"\x10" + key + struct.pack("<i", value)
            case float():
                body += b"\x01" + key + struct.pack("<d", value)
            case str():
                text = value.encode() + b"\0"
                body += b"\x02" + key + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _op_msg(number: int, answers: int, document: bytes) -> bytes:
    body = struct.pack("<IB", 0, 0) + document
    return struct.pack("<iiii", len(body) + 16, number, answers, _OP_MSG) + body


async def _read_op_msg(reader: Reader) -> tuple[int, bytes]:
    size, number, _, code = struct.unpack("<iiii", await reader.readexactly(16))
    if code != _OP_MSG:
        raise BadFrameError(f"operation {code}")
    return number, await read_sized(reader, size - 16)


async def _serve_mongo(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    while True:
        number, body = await _read_op_msg(reader)
        arrived(body)
        writer.write(_op_msg(number + 1, number, _bson(isWritablePrimary=True, minWireVersion=0, maxWireVersion=21, ok=1.0)))
        await writer.drain()


async def _call_mongo(reader: Reader, writer: Writer, marker: bytes) -> None:
    # The command's name has to be the first field; "$db" is no name that Python could give.
    command = _bson(hello=1, comment=marker.decode(), **{"$db": "admin"})
    writer.write(_op_msg(1, 0, command))
    _, body = await _read_op_msg(reader)
    if b"\x01ok\0" + struct.pack("<d", 1.0) not in body:
        raise DeclinedError("not ok")


REDIS = Exchange(_serve_redis, _call_redis)
POSTGRES = Exchange(_serve_postgres, _call_postgres)
MONGO = Exchange(_serve_mongo, _call_mongo)
