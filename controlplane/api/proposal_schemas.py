"""Answers about proposals, their rows, and who has to agree to them. Shapes only."""

from __future__ import annotations

import msgspec

from controlplane.api.schemas import Edge


class Mark(msgspec.Struct, frozen=True):
    """Why an edge is odd: ``oddity`` is sensitive, scan, burst, crowded, unlikely or exception."""

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
