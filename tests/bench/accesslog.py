"""What a sidecar's agent makes of Envoy's access log: lines a second of one core's CPU, parsed and aggregated.

The raw limit is decoding the same lines' JSON and nothing else.
"""

from __future__ import annotations

import time

import msgspec

from sidecar.aggregate import Window
from tests.bench.measurement import Measurement, median
from tests.sidecar.envoylines import http

LINES = 100_000
CHUNK_LINES = 500
ROUNDS = 7


class _Decoded(msgspec.Struct):
    k: str = ""
    peer: str = ""
    method: str = ""
    path: str = ""


def run() -> list[Measurement]:
    """Measure."""
    chunks = _chunks()
    window, raw = [], []
    for _ in range(ROUNDS):
        window.append(LINES / _window_seconds(chunks))
        raw.append(LINES / _decode_seconds(chunks))
    name = "access-log lines parsed and aggregated"
    return [Measurement(name, median(window), "lines/s", 300_000, at_least=True, raw=median(raw))]


def _chunks() -> list[bytes]:
    lines = [_line(n) for n in range(LINES)]
    return [b"".join(lines[start : start + CHUNK_LINES]) for start in range(0, LINES, CHUNK_LINES)]


def _line(number: int) -> bytes:
    peer = f"spiffe://picket.local/ns/shop/sa/caller-{number % 20}"
    return http(svc="shop/cart", peer=peer, path=f"/items/{number % 300}", t=str(1_700_000_000_000 + number))


def _window_seconds(chunks: list[bytes]) -> float:
    window = Window("shop/cart")
    started = time.process_time()
    for chunk in chunks:
        window.add(chunk)
    window.take(ends_window=True)
    return time.process_time() - started


def _decode_seconds(chunks: list[bytes]) -> float:
    decoder = msgspec.json.Decoder(_Decoded)
    started = time.process_time()
    for chunk in chunks:
        decoder.decode_lines(chunk)
    return time.process_time() - started
