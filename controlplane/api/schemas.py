"""What the API answers: one struct per JSON object, with units in the names. Field names are stable; fields are only added.

Times are Unix milliseconds, ``null`` when it never happened. Services are "namespace/name", workloads "namespace/account".
"""

from __future__ import annotations

from typing import Any

import msgspec


class HttpMatch(msgspec.Struct, frozen=True):
    """A method and a path; empty means any. Paths may end in ``*`` or have ``{name}`` segments."""

    method: str
    path: str


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What one source sends to one port of one service, summed over methods and paths."""

    source: str
    destination: str
    port: int
    protocol: str
    http: list[HttpMatch]
    count: int
    first_seen_ms: int | None
    last_seen_ms: int | None


class MapEdge(Edge, frozen=True, kw_only=True):
    """An edge of the map. ``mode`` is what decides when it is not approved; a learned edge was seen, an approved one may pass."""

    approved: bool
    learned: bool
    mode: str


class ServicePort(msgspec.Struct, frozen=True):
    """A declared port."""

    port: int
    protocol: str


class MapService(msgspec.Struct, frozen=True, kw_only=True):
    """A service. ``revision`` is the revision in which its allow-list last changed, ``rules`` how many it has."""

    service: str
    kind: str
    mode: str
    revision: int
    rules: int
    ports: list[ServicePort]


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """The map. ``edge_count`` counts all that match, ``edges`` are the first ``limit`` of them."""

    revision: int
    services: list[MapService]
    edges: list[MapEdge]
    edge_count: int
    next_cursor: str | None = None


class Picture(msgspec.Struct, frozen=True):
    """The map in another format: ``content`` is the whole text of a file."""

    revision: int
    format: str
    media_type: str
    content: str


class Published(msgspec.Struct, frozen=True):
    """A new revision is in force; ``services`` are those that it changed. A ``staged`` one is on its way: see the rollouts."""

    revision: int
    services: list[str]
    staged: bool = False


class Done(msgspec.Struct, frozen=True):
    """What was done, in words."""

    detail: str


class ServiceMode(msgspec.Struct, frozen=True):
    """A service's mode; ``is_default`` when nobody set it."""

    service: str
    mode: str
    is_default: bool


class Modes(msgspec.Struct, frozen=True):
    """All services' modes, and that of services to come."""

    default_mode: str
    services: list[ServiceMode]


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that the allow-list does not hold. ``verdict`` is denied or would-deny; ``direction`` is in or out.

    ``probe`` is the number of the proof for which a sidecar was asked to try it; 0 where somebody meant it.
    """

    id: int
    source: str
    destination: str
    port: int
    protocol: str
    method: str
    path: str
    verdict: str
    deny_id: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    reporter: str
    direction: str
    host: str
    server_name: str
    peer_address: str
    reason: str
    probe: int = 0


class Violations(msgspec.Struct, frozen=True):
    """Newest first, or after ``after_id`` in the order of their ids. ``last_id`` is what to follow from.

    A page is ``cut`` that ended because enough was looked through.
    """

    violations: list[Violation]
    last_id: int
    cut: bool = False
    next_cursor: str | None = None


class ViolationCount(msgspec.Struct, frozen=True):
    """``count`` sums the counts of matching violations; not ``complete``: of the newest of them."""

    count: int
    complete: bool


class ViolationBin(msgspec.Struct, frozen=True):
    """Attempts from ``begin_ms`` on, for the histogram's width."""

    begin_ms: int
    denied: int
    would_deny: int


class ViolationHistogram(msgspec.Struct, frozen=True):
    """Bins without gaps, oldest first; not ``complete``: of the newest of them."""

    width_ms: int
    complete: bool
    bins: list[ViolationBin]


class Nack(msgspec.Struct, frozen=True):
    """What a sidecar refused, and why. ``type`` is CDS, EDS, LDS, RDS, SDS or ECDS."""

    type: str
    message: str
    at_ms: int | None


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """One sidecar's last known state.

    ``state`` is ``away``, ``nack`` (it refused a part and keeps what it had), ``pending`` (sent, not taken yet) or ``ack``.
    ``revision`` is the one that it took last. It is blind since reports went missing or stopped, and ``lost`` counts lines.
    ``rollout`` is the number of the rollout whose stage it is in.
    """

    workload: str
    instance: str
    state: str
    connected: bool
    connected_ms: int | None
    revision: int
    sent_version: str
    acked_version: str
    nack: Nack | None
    last_report_ms: int | None
    blind_since_ms: int | None
    lost: int
    agent_version: str
    envoy_version: str
    capture: str
    certificate_not_after_ms: int | None
    image_digest: str
    rollout: int | None = None


class Sidecars(msgspec.Struct, frozen=True):
    """Ordered by workload and instance; ``revision`` is the one in force."""

    revision: int
    sidecars: list[Sidecar]
    next_cursor: str | None = None


class UnmeshedReplica(msgspec.Struct, frozen=True):
    """A replica that should have a sidecar and has none.

    ``owner`` is what it was made for, such as ``Deployment/cart``; ``workload`` is whose sidecar it would have.
    """

    namespace: str
    replica: str
    owner: str
    reason: str
    workload: str


class Unmeshed(msgspec.Struct, frozen=True):
    """What should be in the mesh and is not. ``notes`` say what cannot be told apart, and what to do."""

    replicas: list[UnmeshedReplica]
    notes: list[str]


class Resource(msgspec.Struct, frozen=True):
    """One xDS resource as the typed view shows it: ``content`` is its protobuf JSON."""

    type: str
    name: str
    version: str
    content: Any


class SidecarConfig(msgspec.Struct, frozen=True):
    """Everything that a workload's sidecars are told."""

    workload: str
    revision: int
    version: str
    resources: list[Resource]


class Root(msgspec.Struct, frozen=True):
    """A trusted root. ``id`` names its key, as certificates that it signed carry it.

    ``state`` is ``active`` (it signs), ``prepared`` (it will) or ``old`` (it did), since then; nothing that an old one signed is
    valid from ``signed_until_ms`` on.
    """

    id: str
    state: str
    since_ms: int
    not_before_ms: int
    not_after_ms: int
    signed_until_ms: int | None


class Authority(msgspec.Struct, frozen=True):
    """The mesh's certificate authority. ``rotating`` while it has more than one root.

    ``next_step`` is taken at ``next_ms``, where that is known (*activate*: at the latest), and waits for what ``waits_for`` says;
    without that it is due. While it rotates, ``outdated`` of ``connected`` sidecars have not taken these roots yet, and ``showing``
    sidecars have a certificate that only the oldest root makes valid; ``late`` are the first of those that the next step waits
    for, as "WORKLOAD INSTANCE". ``keeper`` is who else rotates it, such as cert-manager.
    """

    rotating: bool
    roots: list[Root]
    next_step: str
    next_ms: int | None
    waits_for: str
    connected: int
    outdated: int
    showing: int
    late: list[str]
    keeper: str


class AuditEvent(msgspec.Struct, frozen=True):
    """Who did what to what. ``hash`` is over the event and the hash of the one before."""

    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: Any
    hash: str


class Audit(msgspec.Struct, frozen=True):
    """Newest first, or after ``after_id`` oldest first."""

    events: list[AuditEvent]
    next_cursor: str | None = None


class ImportReceipt(msgspec.Struct, frozen=True):
    """What became of a batch: ``stored``, or known already; ``stale`` flows are older than what the control plane keeps."""

    stored: bool
    stale: int


class AuditVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every event is as it was written; otherwise ``broken_id`` is the first that is not, and ``reason`` says why.

    ``head`` is the last event's ``ID:HASH``, empty of an empty log.
    """

    intact: bool
    events: int
    head: str
    broken_id: int | None
    reason: str


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """A sink since this control plane began. ``state`` is ok, idle, retrying or losing (its queue is full).

    ``dropped`` did not fit into its queue, ``failed`` were given up; ``attempts`` counts those for what is being sent now.
    """

    name: str
    kind: str
    to: str
    state: str
    waiting: int
    sent: int
    dropped: int
    failed: int
    attempts: int
    last_sent_ms: int | None
    last_error: str
    last_error_ms: int | None


class Sinks(msgspec.Struct, frozen=True):
    """All of them, as the file has them."""

    sinks: list[Sink]


class Health(msgspec.Struct, frozen=True):
    """``status`` is ok or failing; ``reasons`` say why."""

    status: str
    reasons: list[str]
