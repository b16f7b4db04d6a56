"""Messages and calls in frames: kafka, amqp and thrift. Each server answers what a real client says first, and no more."""

from __future__ import annotations

import struct

from controlplane.demo.services.exchange import Arrived, BadFrameError, DeclinedError, Exchange, Reader, Writer, read_sized

# -- kafka: https://kafka.apache.org/protocol.html#The_Messages_ApiVersions -------------------------------------------

_API_VERSIONS = 18


async def _serve_kafka(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    while True:
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        frame = await read_sized(reader, size)
        arrived(frame)
        if len(frame) < 10:
            raise BadFrameError("a request without its header")
        key, version, number = struct.unpack("!hhi", frame[:8])
        # 35 is UNSUPPORTED_VERSION, told in the oldest form; real clients then ask again with version 0.
        error = 0 if key == _API_VERSIONS and version == 0 else 35
        body = struct.pack("!ihihhh", number, error, 1, _API_VERSIONS, 0, 0)
        writer.write(struct.pack("!i", len(body)) + body)
        await writer.drain()


async def _call_kafka(reader: Reader, writer: Writer, marker: bytes) -> None:
    body = struct.pack("!hhih", _API_VERSIONS, 0, 1, len(marker)) + marker
    writer.write(struct.pack("!i", len(body)) + body)
    (size,) = struct.unpack("!i", await reader.readexactly(4))
    answer = await read_sized(reader, size)
    if answer[:6] != struct.pack("!ih", 1, 0):
        raise DeclinedError(answer.hex())


# -- amqp 0-9-1: https://www.rabbitmq.com/amqp-0-9-1-reference.html ---------------------------------------------------

_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_START, _START_OK, _TUNE = struct.pack("!HH", 10, 10), struct.pack("!HH", 10, 11), struct.pack("!HH", 10, 30)


def _amqp_frame(payload: bytes) -> bytes:
    return b"\x01" + struct.pack("!HI", 0, len(payload)) + payload + b"\xce"


async def _read_amqp(reader: Reader) -> bytes:
    _, _, size = struct.unpack("!cHI", await reader.readexactly(7))
    return (await read_sized(reader, size + 1))[:-1]


def _long_text(text: bytes) -> bytes:
    return struct.pack("!I", len(text)) + text


async def _serve_amqp(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    if await reader.readexactly(8) != _AMQP_HEADER:
        writer.write(_AMQP_HEADER)
        return
    writer.write(_amqp_frame(_START + b"\x00\x09" + _long_text(b"") + _long_text(b"PLAIN") + _long_text(b"en_US")))
    payload = await _read_amqp(reader)
    arrived(payload)
    if not payload.startswith(_START_OK):
        raise BadFrameError("start-ok is wanted")
    writer.write(_amqp_frame(_TUNE + struct.pack("!HIH", 2047, 131072, 60)))
    await writer.drain()
    while await reader.read(4096):
        pass


async def _call_amqp(reader: Reader, writer: Writer, marker: bytes) -> None:
    writer.write(_AMQP_HEADER)
    if not (await _read_amqp(reader)).startswith(_START):
        raise DeclinedError("not connection.start")
    login = b"\0" + marker + b"\0x"
    writer.write(_amqp_frame(_START_OK + _long_text(b"") + b"\x05PLAIN" + _long_text(login) + b"\x05en_US"))
    if not (await _read_amqp(reader)).startswith(_TUNE):
        raise DeclinedError("not connection.tune")


# -- thrift, framed binary: https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md ----------

_THRIFT_CALL, _THRIFT_REPLY = 0x80010001, 0x80010002


async def _read_thrift(reader: Reader) -> bytes:
    (size,) = struct.unpack("!i", await reader.readexactly(4))
    return await read_sized(reader, size)


async def _serve_thrift(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    while True:
        frame = await _read_thrift(reader)
        arrived(frame)
        if len(frame) < 12 or frame[:4] != struct.pack("!I", _THRIFT_CALL):
            raise BadFrameError("a call is wanted")
        name_end = 8 + struct.unpack("!I", frame[4:8])[0]
        number = frame[name_end : name_end + 4]
        answer = struct.pack("!I", _THRIFT_REPLY) + frame[4:name_end] + number + b"\0"
        writer.write(struct.pack("!i", len(answer)) + answer)
        await writer.drain()


async def _call_thrift(reader: Reader, writer: Writer, marker: bytes) -> None:
    arguments = b"\x0b\x00\x01" + _long_text(marker) + b"\0"
    frame = struct.pack("!I", _THRIFT_CALL) + _long_text(b"ping") + struct.pack("!I", 1) + arguments
    writer.write(struct.pack("!i", len(frame)) + frame)
    answer = await _read_thrift(reader)
    if answer[:4] != struct.pack("!I", _THRIFT_REPLY):
        raise DeclinedError(answer[:4].hex())


KAFKA = Exchange(_serve_kafka, _call_kafka)
AMQP = Exchange(_serve_amqp, _call_amqp)
THRIFT = Exchange(_serve_thrift, _call_thrift)
