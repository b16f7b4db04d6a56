"""The learned edges of one write transaction, with their evidence. Commits nothing itself.

Counts and times are sums that the database adds up. Evidence (`graph.packed`) is merged here, and most uses add nothing to it:
what is known to be stored (`store.known`) is not read again, so a flow that comes again costs no more than its count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from controlplane.flows.model import EdgeKey, Flow
from controlplane.graph.evidence import HOUR_MS, Evidence
from controlplane.graph.ledger import MAX_EDGES_A_SOURCE, Ledger, Shapes, group_of
from controlplane.graph.packed import pack_evidence, unpack_evidence
from controlplane.store import tables
from controlplane.store.known import Known
from controlplane.store.rereading import Rereading
from controlplane.store.statements import parts, upsert

#: More than this in one flow or loss is no count; with it, sums stay far inside 64 bits.
MAX_COUNT = 2**40
_SUMS = {"count": "add", "first_seen_ms": "least", "last_seen_ms": "greatest"}
_MAX_KNOWN_USES = 50_000
#: All peers without identity count as one source; no name begins like this.
_ADDRESSES = ("ip:", "ip;")


#: All of a use but its count and its exact times: an edge, the hours of the first and the last, the replica and its image, what
#: its path held.
Signature = tuple[EdgeKey, int, int, str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known to be stored of edges, and the shapes of their paths."""

    evidence: Known[bytes, Evidence] = field(default_factory=Known)
    uses: Known[Signature, bool] = field(default_factory=lambda: Known(_MAX_KNOWN_USES))
    shapes: Shapes = field(default_factory=Shapes)


class EdgeRecording:
    """The allowed flows of one transaction."""

    def __init__(self, connection: Connection, learned: Learned, max_edges_a_source: int = MAX_EDGES_A_SOURCE) -> None:
        self._connection = connection
        self._learned = learned
        self._known = learned.evidence
        self._max = max_edges_a_source
        self._sums: dict[EdgeKey, list[int]] = {}
        self._fresh = Ledger(max_edges_a_source, learned.shapes)
        self._uses: dict[Signature, bool] = {}
        self._stored: list[tuple[bytes, Evidence]] = []

    def add(self, flows: Iterable[Flow], instance: str) -> None:
        """Add up flows that were let through; ``instance`` is the reporting replica: the source's, where it reports its own."""
        shapes, known = self._learned.shapes, self._learned.uses
        for flow in flows:
            edge, values = shapes.of(flow.edge)
            count, first, last = min(flow.count, MAX_COUNT), flow.first_seen_ms, flow.last_seen_ms
            sums = self._sums.get(edge)
            if sums is None:
                self._sums[edge] = [count, first, last]
            else:
                sums[0] += count
                sums[1], sums[2] = min(sums[1], first), max(sums[2], last)
            replica = flow.peer_address if flow.direction == "in" else instance
            signature = (edge, first // HOUR_MS, last // HOUR_MS, replica, flow.image, values)
            if signature not in self._uses and known.get(signature) is None:
                self._uses[signature] = True
                self._fresh.add(flow, replica)

    def finish(self) -> None:
        """Write the sums, and what evidence is new."""
        sums = {_hash(key): (key, counted) for key, counted in sorted(self._sums.items())}
        fresh = {_hash(key): evidence for key, evidence in self._fresh.edges.items()}
        for lost in self._crowded_out({name: key for name, (key, _) in sums.items() if self._known.get(name) is None}):
            del sums[lost]
            fresh.pop(lost, None)
        rows = [
            {
                "key_hash": name, "source": key.source, "destination": key.destination, "port": key.port, "protocol": key.protocol,
                "method": key.method, "path": key.path, "count": count, "first_seen_ms": first, "last_seen_ms": last,
            }
            for name, (key, (count, first, last)) in sums.items()
        ]  # fmt: skip
        # First, in the order of keys: whoever has the row of an edge also owns its evidence until the commit.
        upsert(self._connection, tables.edges, rows, _SUMS)
        self._write_evidence({name: evidence for name, evidence in fresh.items() if not self._is_known(name, evidence)})

    def committed(self) -> None:
        """What was written is stored."""
        self._known.put(self._stored)
        self._learned.uses.put(self._uses.items())

    def _is_known(self, name: bytes, evidence: Evidence) -> bool:
        known = self._known.get(name)
        return known is not None and known.holds(evidence)

    def _write_evidence(self, fresh: dict[bytes, Evidence]) -> None:
        stored = _stored_evidence(self._connection, list(fresh))
        rows = []
        for name, evidence in sorted(fresh.items()):
            before = stored.get(name)
            if before is None or not before.holds(evidence):
                if before is not None:
                    evidence.merge(before)
                rows.append({"key_hash": name, "packed": pack_evidence(evidence)})
                before = evidence
            self._stored.append((name, before))
        upsert(self._connection, tables.evidence, rows)

    def _crowded_out(self, unknown: dict[bytes, EdgeKey]) -> list[bytes]:
        """Which new edges have no place: of a source with too many, those with the least hashes stay, whatever came first."""
        new: dict[str, list[bytes]] = {}
        for name in unknown.keys() - _present(self._connection, list(unknown)):
            new.setdefault(group_of(unknown[name]), []).append(name)
        lost: list[bytes] = []
        table = tables.edges.c
        for group, names in new.items():
            ours = _of_group(group)
            count = self._connection.execute(select(func.count()).select_from(tables.edges).where(ours)).scalar_one()
            excess = count + len(names) - self._max
            if excess <= 0:
                continue
            query = select(table.key_hash).where(ours).order_by(table.key_hash.desc()).limit(excess)
            last = [bytes(row[0]) for row in self._connection.execute(query)]
            over = sorted([*last, *names], reverse=True)[:excess]
            lost += set(over) & set(names)
            removed = sorted(set(over) - set(names))
            remove_edges(self._connection, removed)
            self._known.forget(removed)
        return lost


def evidence_reading() -> Rereading[tuple[EdgeKey, Evidence]]:
    """What `select_evidence` remembers."""
    return Rereading(lambda row: (EdgeKey(*row[1:7]), _evidence(row[10], *row[7:10])))


def select_evidence(connection: Connection, reading: Rereading[tuple[EdgeKey, Evidence]]) -> dict[EdgeKey, Evidence]:
    """The evidence of every learned edge."""
    table, kept = tables.edges, tables.evidence.c
    query = select(
        table.c.key_hash, *(table.c[name] for name in EdgeKey._fields), table.c.count, table.c.first_seen_ms, table.c.last_seen_ms,
        kept.packed,
    ).select_from(table.outerjoin(tables.evidence, table.c.key_hash == kept.key_hash))  # fmt: skip
    return dict(reading.read(connection.execute(query)))


def select_overflowing(connection: Connection, max_edges_a_source: int = MAX_EDGES_A_SOURCE) -> frozenset[str]:
    """Sources with as many edges as are kept, or more; ``ip:`` stands for all peers without identity."""
    counts: dict[str, int] = {}
    for source, count in connection.execute(select(tables.edges.c.source, func.count()).group_by(tables.edges.c.source)):
        group = group_of(EdgeKey(source, "", 0, ""))
        counts[group] = counts.get(group, 0) + count
    return frozenset(group for group, count in counts.items() if count >= max_edges_a_source)


def remove_edges(connection: Connection, names: Sequence[bytes]) -> None:
    """Remove edges and what is known of their use."""
    for chunk in parts(names):
        for table in (tables.evidence, tables.edges):
            connection.execute(delete(table).where(table.c.key_hash.in_(chunk)))


def _stored_evidence(connection: Connection, names: Sequence[bytes]) -> dict[bytes, Evidence]:
    table, kept = tables.edges, tables.evidence.c
    joined = table.join(tables.evidence, table.c.key_hash == kept.key_hash)
    query = select(table.c.key_hash, kept.packed, table.c.count, table.c.first_seen_ms, table.c.last_seen_ms).select_from(joined)
    return {
        bytes(row[0]): _evidence(row[1], *row[2:])
        for chunk in parts(names)
        for row in connection.execute(query.where(table.c.key_hash.in_(chunk)))
    }


def _evidence(packed: bytes | None, count: int, first_seen_ms: int, last_seen_ms: int) -> Evidence:
    if packed is None:
        return Evidence(count, first_seen_ms, last_seen_ms)
    return unpack_evidence(bytes(packed), count, first_seen_ms, last_seen_ms)


def _present(connection: Connection, names: Sequence[bytes]) -> set[bytes]:
    table = tables.edges.c
    return {
        bytes(row[0])
        for chunk in parts(names)
        for row in connection.execute(select(table.key_hash).where(table.key_hash.in_(chunk)))
    }


def _of_group(group: str) -> ColumnElement[bool]:
    source = tables.edges.c.source
    first, end = _ADDRESSES
    return and_(source >= first, source < end) if group == first else source == group


def _hash(key: EdgeKey) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(key), digest_size=16).digest()
