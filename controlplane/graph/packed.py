"""Evidence and watches as bytes and back, for a store that does not look inside. Counts and times of edges are not in them.

MessagePack, with numbers of more than 64 bits as bytes; an array, so that a later version can add to its end.
"""

from __future__ import annotations

import msgspec

from controlplane.graph.distinct import Distinct
from controlplane.graph.evidence import Evidence
from controlplane.graph.images import Images, ImageUse
from controlplane.graph.watch import Kept, Watch

_Sketch = tuple[list[int], list[str]]


class _Evidence(msgspec.Struct, array_like=True):
    last_day: int
    days: bytes
    hours: bytes
    replicas: _Sketch | None
    images: list[tuple[str, int, int]] | None
    values: list[_Sketch]


class _Watch(msgspec.Struct, array_like=True):
    first_ms: int | None
    last_ms: int | None
    last_start_ms: int | None
    lost: int
    last_hour: int
    heard: bytes
    lossy: bytes
    starts: _Sketch


def pack_evidence(evidence: Evidence) -> bytes:
    """All of it but the count and the times."""
    return msgspec.msgpack.encode(
        _Evidence(
            evidence.last_day, _bytes(evidence.days), _bytes(evidence.hours), _sketch(evidence.replicas),
            None if evidence.images is None else list(evidence.images.uses), [seen.kept for seen in evidence.values],
        )
    )  # fmt: skip


def unpack_evidence(packed: bytes, count: int, first_seen_ms: int, last_seen_ms: int) -> Evidence:
    """Made again, with the count and the times that were kept beside it.

    Raises:
        msgspec.DecodeError: other bytes.
    """
    kept = msgspec.msgpack.decode(packed, type=_Evidence)
    made = Evidence(count, first_seen_ms, last_seen_ms)
    made.hours |= _number(kept.hours)
    made.see_days(kept.last_day, _number(kept.days))
    made.replicas = _distinct(kept.replicas)
    made.images = None if kept.images is None else Images(ImageUse(*use) for use in kept.images)
    made.values = tuple(Distinct.of_kept(*seen) for seen in kept.values)
    return made


def pack_watch(watch: Watch) -> bytes:
    """All of it."""
    kept = watch.kept
    return msgspec.msgpack.encode(_Watch(*kept[:5], _bytes(kept.heard), _bytes(kept.lossy), kept.starts.kept))


def unpack_watch(packed: bytes) -> Watch:
    """Made again.

    Raises:
        msgspec.DecodeError: other bytes.
    """
    kept = msgspec.msgpack.decode(packed, type=_Watch)
    return Watch.of_kept(
        Kept(
            kept.first_ms, kept.last_ms, kept.last_start_ms, kept.lost, kept.last_hour, _number(kept.heard), _number(kept.lossy),
            Distinct.of_kept(*kept.starts),
        )
    )  # fmt: skip


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def _sketch(seen: Distinct | None) -> _Sketch | None:
    return None if seen is None else seen.kept


def _distinct(kept: _Sketch | None) -> Distinct | None:
    return None if kept is None else Distinct.of_kept(*kept)
