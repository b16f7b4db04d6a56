"""Counts the uses of edges within a window, and knows what is new. Never reads a file, and never decides what a line means.

A request is counted once, also when it goes on for hours and is logged every few seconds meanwhile. What clients can make
up (methods, paths, hosts) is bounded: beyond the bound only that is dropped, never the count.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable

from protos.picket.v1 import telemetry_pb2
from sidecar.accesslog import (
    ALLOWED,
    DENIED,
    INBOUND,
    MAX_TIME_MS,
    PERIOD_MS,
    Key,
    Line,
    UnreadableError,
    Use,
    is_periodic,
    key_of,
    read_lines,
)

#: Different methods of one peer and port, and paths and hosts of one method, that are told apart within a window. Of what is
#: denied it is all that one peer asks of a port within `FORGET_MS`: each is a row of the log, and whoever is denied makes up more.
MAX_METHODS = 50
MAX_DETAILS = 100
#: Paths of one method that differ only in segments with digits (mostly identifiers), told apart within a window.
MAX_ALIKE = 8
#: Further paths of such kinds that are counted without looking twice.
MAX_REMEMBERED = 50_000
#: So many kinds of uses end a window before its time.
MAX_USES = 10_000
#: A violation that was not seen for so long is new again.
FORGET_MS = 60_000
MAX_KNOWN = 20_000
#: Open requests and connections that are remembered; beyond it the oldest is counted once more.
MAX_OPEN = 100_000
#: How early or late a periodic line may come.
_SLACK_MS = 50
#: What ended sooner was never logged before its end.
_SHORT_MS = 1_000
#: Longest texts, in characters; the control plane refuses a batch with a longer one.
LIMITS = {
    "peer_id": 512, "peer_address": 64, "service": 130, "dialled_address": 64, "protocol": 32, "method": 64,
    "path": 1024, "host": 255, "server_name": 255, "deny_id": 256, "reason": 256,
}  # fmt: skip

_VERDICT = Use._fields.index("verdict")
_WITH_DIGITS = re.compile(r"/[^/0-9]*[0-9][^/]*")
_REVISION_AND_REASON = re.compile(r"(0|[1-9][0-9]{0,11})(/(quarantine|egress))?")
#: Count, first and last time in ms.
_Sums = list[int]


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Window:
    """The uses since the last `take`."""

    def __init__(self, workload: str, watermark_ms: int = 0, clock_ms: Callable[[], int] = _wall_ms) -> None:
        """Count for one workload's sidecar.

        Args:
            workload: ``namespace/name``; a line that speaks of another's listener counts as lost.
            watermark_ms: the latest time that was counted before a restart, 0 for none. What was open then is not new.
            clock_ms: the machine's clock, which is Envoy's too. It may be set back: what is later than it says was never seen.
        """
        self._clock_ms = clock_ms
        self.watermark_ms = min(watermark_ms, clock_ms())
        self.lost = 0
        self.has_news = False
        self._workload = workload
        self._resumed_ms = self.watermark_ms
        self._uses: dict[Key, _Sums] = {}
        self._told_apart: dict[Key, set[tuple[str, ...]]] = {}
        self._denied_apart: dict[Key, set[tuple[str, ...]]] = {}
        self._denied_since_ms = 0
        self._paths_alike: dict[Key, list[str]] = {}
        # Where further paths of a kind are counted, by kind and by path: busy services are mostly asked for one of many things.
        self._full_kinds: dict[Key, _Sums] = {}
        self._alike_sums: dict[Key, _Sums] = {}
        self._known: dict[Key, int] = {}  # violations and when they were seen last
        self._open: dict[int, tuple[Key, int]] = {}  # by hash: what it was counted as, and when it was seen last

    @property
    def is_full(self) -> bool:
        """Whether to take now."""
        return len(self._uses) >= MAX_USES

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._uses or self.lost)

    def add(self, chunk: bytes, lost: int = 0) -> None:
        """Count the lines of a piece of the log; ``lost`` lines are missing before it."""
        lines, unreadable = read_lines(chunk)
        lost += unreadable
        now = self._clock_ms()
        latest = min(self.watermark_ms, now)
        uses, alike = self._uses, self._alike_sums
        for line in lines:
            start, duration = line.t, line.dur
            seen = start if duration is None else start + duration
            if not 0 < start <= seen <= MAX_TIME_MS:
                lost += 1
                continue
            if seen > now:
                start, seen = min(start, now), now
            try:
                key = key_of(line)
            except UnreadableError:
                lost += 1
                continue
            if key is None:
                continue
            sums = uses.get(key) or alike.get(key)
            if sums is None:
                sums = self._counted_alike(key) or self._begin(key, start, seen)
                if sums is None:
                    lost += 1
                    continue
            if (duration is not None and duration < _SHORT_MS) or self._is_first(line, key, seen):
                sums[0] += 1
            if start < sums[1] or seen > sums[2]:
                sums[1], sums[2], latest = min(sums[1], start), max(sums[2], seen), max(latest, seen)
        self.watermark_ms = latest
        self.lost += lost

    def take(self, *, ends_window: bool) -> tuple[list[telemetry_pb2.Observation], int]:
        """What was counted and how many lines were lost since the last time; the bound on details holds for a window."""
        observations = [_observation(key, sums) for key, sums in self._uses.items()]
        lost = self.lost
        self._uses, self._alike_sums, self._full_kinds = {}, {}, {}
        self.lost = 0
        self.has_news = False
        if ends_window:
            self._told_apart, self._paths_alike = {}, {}
            self._forget()
        return observations, lost

    def _counted_alike(self, key: Key) -> _Sums | None:
        """Where a path of a kind of which enough are told apart already is counted."""
        if key[_VERDICT] != ALLOWED or not self._full_kinds:
            return None
        sums = self._full_kinds.get(_kind_of(key))
        if sums is not None and len(self._alike_sums) < MAX_REMEMBERED:
            self._alike_sums[key] = sums
        return sums

    def _begin(self, key: Key, start: int, seen: int) -> _Sums | None:
        """Sums for a use that has none; ``None`` for what this sidecar cannot report: another workload's, or no port."""
        use = Use(*key)
        if not 0 < use.port < 65536 or use.service != (self._workload if use.direction == INBOUND else "") or not _has_ends(use):
            return None
        if use.deny_id and not self._is_own(use.deny_id):
            key = use = use._replace(deny_id="")
        if use.method or use.path or use.host or use.server_name:
            key = use = self._bounded(use)
        if use.verdict != ALLOWED:
            self.has_news = self.has_news or key not in self._known
            self._known[key] = seen
        return self._uses.setdefault(key, [0, start, 0])

    def _is_own(self, deny_id: str) -> bool:
        """Whether a denial has a name that this sidecar can give."""
        own = f"deny:{self._workload}@r"
        return deny_id.startswith(own) and _REVISION_AND_REASON.fullmatch(deny_id, len(own)) is not None

    def _bounded(self, use: Use) -> Use:
        """The use without what there are too many of already."""
        method = use._replace(path="", host="", server_name="")
        peer = method._replace(method="")
        if not self._has_room(peer, (use.method,), MAX_METHODS):
            return peer
        if use.verdict == DENIED:
            members = self._denied_apart.setdefault(peer, set())
            return use if _has_room(members, (use.method, use.path, use.host, use.server_name), MAX_DETAILS) else method
        if use.verdict == ALLOWED and use.protocol == "http":
            use = self._alike(use)
        return use if self._has_room(method, (use.path, use.host, use.server_name), MAX_DETAILS) else method

    def _alike(self, use: Use) -> Use:
        """The use itself, or one that it is counted with: who asks for a thousand users asks for one kind of thing."""
        kind = _kind_of(use)
        if kind == use:
            return use
        kept = self._paths_alike.setdefault(kind, [])
        if use.path in kept:
            return use
        if len(kept) < MAX_ALIKE:
            kept.append(use.path)
            return use
        last = use._replace(path=kept[-1])
        if (sums := self._uses.get(last)) is not None:
            self._full_kinds[kind] = sums
        return last

    def _has_room(self, group: Key, member: tuple[str, ...], limit: int) -> bool:
        return _has_room(self._told_apart.setdefault(group, set()), member, limit)

    def _is_first(self, line: Line, key: Key, seen: int) -> bool:
        """Whether a request or connection that took long was not counted before, or not as what it turned out to be."""
        name = hash((line.k, line.id, line.t, line.method, line.path))
        before = self._open.pop(name, None)
        if is_periodic(line):
            self._open[name] = (key, seen)
            if len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
        if before is not None:
            return before[0] != key
        first_line_ms = PERIOD_MS - _SLACK_MS
        return line.t + first_line_ms > self._resumed_ms or (line.dur or 0) < first_line_ms

    def _forget(self) -> None:
        if not self._denied_since_ms:
            self._denied_since_ms = self.watermark_ms
        elif not 0 <= self.watermark_ms - self._denied_since_ms < FORGET_MS:
            self._denied_apart, self._denied_since_ms = {}, self.watermark_ms
        since = self.watermark_ms - FORGET_MS
        self._open = {name: (key, seen) for name, (key, seen) in self._open.items() if seen > since}
        self._known = {key: seen for key, seen in self._known.items() if seen > since} if len(self._known) <= MAX_KNOWN else {}


def _has_room(members: set[tuple[str, ...]], member: tuple[str, ...], limit: int) -> bool:
    if member not in members and len(members) >= limit:
        return False
    members.add(member)
    return True


def _kind_of(key: Key) -> Key:
    """The use with a stand-in for each segment that has a digit, all else the same."""
    use = Use(*key)
    return use._replace(path=_WITH_DIGITS.sub("/#", use.path))


def _has_ends(use: Use) -> bool:
    """Whether it says who called, by name or address, and from or to an address where it gives one."""
    try:
        for text in (use.peer_address, use.dialled_address):
            if text:
                ipaddress.ip_address(text)
    except ValueError:
        return False
    return use.direction != INBOUND or bool(use.peer_address or use.peer_id)


def _observation(key: Key, sums: _Sums) -> telemetry_pb2.Observation:
    use = Use(*key)._asdict()
    for name, limit in LIMITS.items():
        text = use[name]
        if len(text) > limit or not text.isprintable():
            use[name] = _printable(text[:limit])
    return telemetry_pb2.Observation(**use, count=sums[0], first_seen_ms=sums[1], last_seen_ms=sums[2])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
