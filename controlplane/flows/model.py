"""Flows, the edges that they use, and violations, as frozen values. Never says what is allowed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class Verdict(enum.StrEnum):
    """What became of a flow."""

    ALLOWED = "allowed"
    WOULD_DENY = "would-deny"
    DENIED = "denied"


#: Envoy's words (response code details) for what it refuses whatever is allowed: CONNECT, ``OPTIONS *`` and an upgrade to a
#: protocol that it does not know.
NEVER_PASSED_ON = frozenset({"route_not_found", "absolute_path_rejected", "upgrade_failed"})


class EdgeKey(NamedTuple):
    """What makes an edge one edge.

    ``source`` is a workload "namespace/account", or "ip:ADDRESS" for a peer without identity; ``destination`` is a service
    "namespace/name", or "external/HOST" for a host outside the topology. ``method`` and ``path`` are empty where the protocol
    has none.
    """

    source: str
    destination: str
    port: int
    protocol: str
    method: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """A counted use of one edge, as one sidecar saw it. Times are Unix milliseconds; ``probe`` as of `Violation`.

    ``image`` is the digest of what its source runs, where known.
    """

    edge: EdgeKey
    verdict: Verdict
    reporter: str
    direction: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    host: str = ""
    server_name: str = ""
    peer_address: str = ""
    deny_id: str = ""
    reason: str = ""
    probe: int = 0
    image: str = ""


@dataclass(frozen=True, slots=True)
class LearnedEdge:
    """An edge with what is known of its use. Times are Unix milliseconds."""

    key: EdgeKey
    count: int
    first_seen_ms: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class HourlyFlow:
    """The uses of one edge in one hour with one verdict. ``hour`` counts from the epoch; the path of ``edge`` is one of those seen.

    ``verdict`` is what the sidecar reported; ``deny_id`` is the last that came with it, empty where Envoy refuses such a use
    whatever is allowed. ``direction`` says whose sidecar: the destination's (``in``) or the source's (``out``); empty where it was
    none, as for what was imported, or where that was not kept yet.
    """

    edge: EdgeKey
    verdict: Verdict
    hour: int
    count: int
    deny_id: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A flow that the allow-list does not hold, as stored; ``count`` sums what followed it within its window.

    ``probe`` is the number of the proof (`policy.proofs`) by which the connection was made; 0 where somebody meant it.
    """

    id: int
    edge: EdgeKey
    verdict: Verdict
    reporter: str
    direction: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    host: str
    server_name: str
    peer_address: str
    deny_id: str
    reason: str
    probe: int = 0
