"""What the API answers about the approved allow-list: revisions, their rules and what differs. As `schemas` for the rest."""

from __future__ import annotations

import msgspec

from controlplane.api.schemas import HttpMatch


class Rule(msgspec.Struct, frozen=True):
    """Lets one source (a workload, or "ip:CIDR") call one port; ``http`` empty means whatever it sends."""

    source: str
    port: int
    http: list[HttpMatch]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a request under a revision.

    ``verdict`` is allowed, would-deny or denied; ``decided_by`` is the end whose sidecar says so, source or destination, and
    ``text`` why. ``rule`` is what lets it pass, ``deny_id`` what it would be reported as.
    """

    source: str
    destination: str
    port: int
    verdict: str
    decided_by: str
    text: str
    rule: Rule | None
    deny_id: str
    revision: int
    mode: str


class PolicyObject(msgspec.Struct, frozen=True):
    """A TrafficPolicy object of the cluster, ``namespace/name``; ``own`` ones were written by Picket from what is approved.

    ``state`` is in-force, differs (something else was approved since it was applied), refused, conflict (somebody else changed
    what Picket had written, or it cannot be written), unkept (nobody looks after it here) or waiting; ``reason`` says why and what
    to do. ``revision`` is the one that it was applied or written by, 0 for none.
    """

    object: str
    service: str
    own: bool
    state: str
    revision: int
    reason: str


class PolicyObjects(msgspec.Struct, frozen=True):
    """The cluster's TrafficPolicy objects by name; none outside of a cluster. ``revision`` is in force."""

    revision: int
    objects: list[PolicyObject]


class ServiceRules(msgspec.Struct, frozen=True):
    """A service's allow-list; ``revision`` is the one in which it last changed."""

    service: str
    revision: int
    rules: list[Rule]


class Proved(msgspec.Struct, frozen=True):
    """What was tried of the enforcement while a revision was in force: ports of sidecars, by what came of the last try of each."""

    proven: int = 0
    failed: int = 0
    not_tried: int = 0
    open: int = 0


class RevisionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A revision without its rules. Revision 0 stands for the empty policy before the first."""

    revision: int
    active: bool
    created_ms: int | None
    author: str
    note: str
    service_count: int
    rule_count: int
    proved: Proved


class Revision(RevisionSummary, frozen=True, kw_only=True):
    """A revision with its rules."""

    services: list[ServiceRules]


class Revisions(msgspec.Struct, frozen=True):
    """Newest first."""

    active: int
    revisions: list[RevisionSummary]
    next_cursor: str | None = None


class RuleChange(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. ``change`` is added, removed or changed; ``before`` is null when added, ``after`` when removed."""

    service: str
    source: str
    port: int
    change: str
    before: list[HttpMatch] | None
    after: list[HttpMatch] | None


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two revisions; ``text`` is the same for people."""

    before: int
    after: int
    changes: list[RuleChange]
    text: str
