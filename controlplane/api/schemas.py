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


class Mark(msgspec.Struct, frozen=True):
    """Why an edge is odd: ``oddity`` is sensitive, scan, burst, crowded or unlikely."""

    oddity: str
    reason: str


class Widened(msgspec.Struct, frozen=True):
    """A path that stands for more than what was seen, and why."""

    method: str
    path: str
    reasons: list[str]


class ImageUse(msgspec.Struct, frozen=True):
    """An image of the source, as its cluster or else its sidecar says: when it first used the edge, and the last day it did."""

    digest: str
    first_seen_ms: int
    last_day_ms: int


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """The use of an edge: on how many days, which weekdays (0 is Monday), in how many of the 168 hours of a week; by whom.

    ``came_with`` is the digest of the image that the edge came with, where images that the source ran before did not use it.
    """

    days: int
    weekdays: list[int]
    hours_of_week: int
    replica_count: int
    replicas: list[str]
    images: list[ImageUse]
    came_with: str
    widened: list[Widened]


class WishedBy(msgspec.Struct, frozen=True):
    """Who asked for an edge, why, and where it is discussed."""

    actor: str
    reason: str
    link: str
    at_ms: int


class Remark(msgspec.Struct, frozen=True):
    """What somebody said about an edge."""

    actor: str
    text: str
    at_ms: int


class AgreedBy(msgspec.Struct, frozen=True):
    """Somebody agreed to a row that waits for others."""

    actor: str
    at_ms: int


class ProposedEdge(Edge, frozen=True, kw_only=True):
    """One row of a proposal, counted from 1. Only what is preselected is approved without being named.

    ``removal`` is why an approved edge should go, empty where one is to be allowed; ``asked`` is who asked for it, if anybody did.
    ``owners`` have to agree, one of them; ``lacks`` says who is still missing, and ``mine`` whether the reader is an owner.
    """

    row: int
    preselected: bool
    marks: list[Mark]
    removal: str
    asked: WishedBy | None
    source_role: str
    destination_role: str
    samples: Samples | None
    owners: list[str]
    source_owners: list[str]
    approvals: list[AgreedBy]
    comments: list[Remark]
    lacks: str
    mine: bool


class ProposalSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal without its rows. ``status`` is open, approved, rejected or superseded."""

    number: int
    status: str
    created_ms: int
    base_revision: int
    edge_count: int
    preselected_count: int
    decided_ms: int | None
    decided_by: str
    comment: str
    revision: int | None


class Proposal(ProposalSummary, frozen=True, kw_only=True):
    """A proposal with its rows."""

    edges: list[ProposedEdge]


class DeniedEdge(Edge, frozen=True, kw_only=True):
    """An edge in use that would be denied under enforcement: ``http`` is what is missing of it, and ``mode`` what decides now."""

    mode: str


class ReachChange(msgspec.Struct, frozen=True, kw_only=True):
    """From how many workloads a service can be reached, in any number of calls. ``gained`` and ``lost`` are the first few."""

    service: str
    before: int
    after: int
    gained_count: int
    lost_count: int
    gained: list[str]
    lost: list[str]
    text: str


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of the ``edges`` that were used in the last ``days``, were everything enforced."""

    days: int
    edges: int
    denied: list[DeniedEdge]
    reach: list[ReachChange]


class Proposals(msgspec.Struct, frozen=True):
    """Newest first."""

    proposals: list[ProposalSummary]
    next_cursor: str | None = None


class WaitingRow(msgspec.Struct, frozen=True):
    """A row that was agreed to; ``lacks`` says who else has to."""

    row: int
    edge: str
    lacks: str


class Approved(msgspec.Struct, frozen=True):
    """What became of an approval: ``revision`` is in force by it, null where all rows wait for others.

    A ``staged`` revision is on its way into force: see the rollouts.
    """

    revision: int | None
    services: list[str]
    waiting: list[WaitingRow]
    staged: bool = False


class OwnedServices(msgspec.Struct, frozen=True):
    """A line of the owners file and the services that it is about: none where later lines are about all of them."""

    line: int
    pattern: str
    owners: list[str]
    services: list[str]


class Ownership(msgspec.Struct, frozen=True):
    """Who has to agree to edges toward which services; ``unowned`` need nobody. ``four_eyes``: two persons for each edge."""

    four_eyes: bool
    lines: list[OwnedServices]
    unowned: list[str]


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
    ``revision`` is the one that it took last. It is blind since reports went missing, and ``lost`` counts their lines. ``rollout``
    is the number of the rollout whose stage it is in.
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
    """A replica that should have a sidecar and has none. ``owner`` is what it was made for, such as ``Deployment/cart``."""

    namespace: str
    replica: str
    owner: str
    reason: str


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
