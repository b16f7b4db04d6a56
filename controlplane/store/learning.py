"""The learned edges of one write transaction, with their evidence. Commits nothing itself.

Counts and times are sums that the database adds up. Evidence (`graph.packed`) is merged here, and most uses add nothing to it:
what is known to be stored (`store.known`) is not read again, so a flow that comes again costs no more than its count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from controlplane.flows.model import EdgeKey, Flow
from controlplane.graph.evidence import Evidence
from controlplane.graph.ledger import MAX_EDGES_A_SOURCE, Ledger, group_of
from controlplane.graph.packed import pack_evidence, unpack_evidence
from controlplane.store import tables
from controlplane.store.known import Known
from controlplane.store.statements import upsert

#: More than this in one flow or loss is no count; with it, sums stay far inside 64 bits.
MAX_COUNT = 2**40
_SUMS = {"count": "add", "first_seen_ms": "least", "last_seen_ms": "greatest"}
_CHUNK = 500
#: All peers without identity count as one source; no name begins like this.
_ADDRESSES = ("ip:", "ip;")


class EdgeRecording:
    """The allowed flows of one transaction."""

    def __init__(self, connection: Connection, known: Known[bytes, Evidence], max_edges_a_source: int = MAX_EDGES_A_SOURCE) -> None:
        self._connection = connection
        self._known = known
        self._max = max_edges_a_source
        self._ledger = Ledger(max_edges_a_source)
        self._stored: list[tuple[bytes, Evidence]] = []

    def add(self, flows: Iterable[Flow], instance: str) -> None:
        """Add up flows that were let through; ``instance`` is the reporting replica: the source's, where it reports its own."""
        for flow in flows:
            counted = flow if flow.count <= MAX_COUNT else replace(flow, count=MAX_COUNT)
            self._ledger.add(counted, flow.peer_address if flow.direction == "in" else instance)

    def finish(self) -> None:
        """Write the sums, and what evidence is new."""
        found = {_hash(key): (key, evidence) for key, evidence in sorted(self._ledger.edges.items())}
        for lost in self._crowded_out({name: key for name, (key, _) in found.items() if self._known.get(name) is None}):
            del found[lost]
        rows = [
            {**key._asdict(), "key_hash": name, "count": evidence.count, "first_seen_ms": evidence.first_seen_ms,
             "last_seen_ms": evidence.last_seen_ms}
            for name, (key, evidence) in found.items()
        ]  # fmt: skip
        # First, in the order of keys: whoever has the row of an edge also owns its evidence until the commit.
        upsert(self._connection, tables.edges, rows, _SUMS)
        self._write_evidence({name: evidence for name, (_, evidence) in found.items() if not self._is_known(name, evidence)})

    def committed(self) -> None:
        """What was written is stored."""
        self._known.put(self._stored)

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
            remove_edges(self._connection, sorted(set(over) - set(names)))
        return lost


def select_evidence(connection: Connection) -> dict[EdgeKey, Evidence]:
    """The evidence of every learned edge."""
    table, kept = tables.edges, tables.evidence.c
    query = select(
        *(table.c[name] for name in EdgeKey._fields), table.c.count, table.c.first_seen_ms, table.c.last_seen_ms, kept.packed
    ).select_from(table.outerjoin(tables.evidence, table.c.key_hash == kept.key_hash))
    return {
        EdgeKey(*row[:6]): Evidence(row[6], row[7], row[8])
        if row[9] is None
        else unpack_evidence(bytes(row[9]), row[6], row[7], row[8])
        for row in connection.execute(query)
    }


def select_overflowing(connection: Connection, max_edges_a_source: int = MAX_EDGES_A_SOURCE) -> frozenset[str]:
    """Sources with as many edges as are kept, or more; ``ip:`` stands for all peers without identity."""
    counts: dict[str, int] = {}
    for source, count in connection.execute(select(tables.edges.c.source, func.count()).group_by(tables.edges.c.source)):
        group = group_of(EdgeKey(source, "", 0, ""))
        counts[group] = counts.get(group, 0) + count
    return frozenset(group for group, count in counts.items() if count >= max_edges_a_source)


def remove_edges(connection: Connection, names: Sequence[bytes]) -> None:
    """Remove edges and what is known of their use."""
    for chunk in _chunks(names):
        for table in (tables.evidence, tables.edges):
            connection.execute(delete(table).where(table.c.key_hash.in_(chunk)))


def _stored_evidence(connection: Connection, names: Sequence[bytes]) -> dict[bytes, Evidence]:
    table, kept = tables.edges, tables.evidence.c
    joined = table.join(tables.evidence, table.c.key_hash == kept.key_hash)
    query = select(table.c.key_hash, kept.packed, table.c.count, table.c.first_seen_ms, table.c.last_seen_ms).select_from(joined)
    return {
        bytes(row[0]): _evidence(row[1], *row[2:])
        for chunk in _chunks(names)
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
        for chunk in _chunks(names)
        for row in connection.execute(select(table.key_hash).where(table.key_hash.in_(chunk)))
    }


def _chunks(names: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))


def _of_group(group: str) -> ColumnElement[bool]:
    source = tables.edges.c.source
    first, end = _ADDRESSES
    return and_(source >= first, source < end) if group == first else source == group


def _hash(key: EdgeKey) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(key), digest_size=16).digest()
