"""What the API is asked: one struct per body or query, with bounds. Fields that a struct does not have are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from controlplane.policy.rollouts import Plan
from controlplane.violations.line import MAX_LENGTH

MAX_ROWS = 10_000
#: The year 10000.
MAX_MS = 253_402_300_799_999
#: Where a page of violations goes on: "LAST_SEEN_MS-ID".
PLACE = "^([0-9]{1,15}-[0-9]{1,15})?$"
_Id = Annotated[int, Meta(ge=0, le=2**53)]
_Comment = Annotated[str, Meta(max_length=1000)]
_Name = Annotated[str, Meta(max_length=300)]
_Limit = Annotated[int, Meta(ge=1, le=1000)]
#: Each may hold the whole mesh.
_FewDocuments = Annotated[int, Meta(ge=1, le=200)]
#: Rows of a list that is short in most meshes.
_Rows = Annotated[int, Meta(ge=1, le=10_000)]
#: A page's ``next_cursor``; empty: from the beginning.
_Cursor = Annotated[str, Meta(max_length=1000, pattern="^[A-Za-z0-9_=-]*$")]
ModeName = Literal["learn", "audit", "enforce", "quarantine"]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class MapQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``service`` keeps the edges from and to one service ("namespace/name")."""

    service: _Name = ""
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    cursor: _Cursor = ""


class PictureQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The map as a drawing. ``service`` and ``namespace`` keep the edges from and to one."""

    format: Literal["dot", "mermaid", "graphml", "json", "svg"]
    service: _Name = ""
    namespace: _Name = ""


class ProposalsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``status`` keeps the proposals with it."""

    status: Literal["open", "approved", "rejected", "superseded"] | None = None
    limit: _FewDocuments = 20
    cursor: _Cursor = ""


class MatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A method and a path; empty means any."""

    method: Annotated[str, Meta(max_length=64)] = ""
    path: Annotated[str, Meta(max_length=1024)] = ""


class GrantBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An edge to allow for so many ``seconds``; without ``http``, whatever is sent."""

    source: _Name
    destination: _Name
    port: Annotated[int, Meta(ge=1, le=65535)]
    http: Annotated[list[MatchBody], Meta(max_length=50)] = []
    seconds: Annotated[int, Meta(ge=1, le=86_400)]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    ticket: _Name = ""


class OpenQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``all`` shows those that have ended, too."""

    all: bool = False
    limit: _Limit = 50
    cursor: _Cursor = ""


class RolloutBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Services to enforce in stages: one sidecar, a share of them, all."""

    services: Annotated[list[_Name], Meta(min_length=1, max_length=500)]
    share_percent: Annotated[int, Meta(ge=1, le=99)] = 20
    hold_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 60
    max_denials: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    comment: _Comment = ""
    override: _Comment = ""


class ProofsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands for each port of each sidecar; ``all`` shows what was before, too, ``revision`` all that was tried under one."""

    all: bool = False
    revision: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    limit: _Rows = 1_000
    cursor: _Cursor = ""


class ProofBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Services of which it is to be tried whether they drop what is forbidden; without any, all that should."""

    services: Annotated[list[_Name], Meta(max_length=500)] = []


class PreviewQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What was used within so many ``days``; ``rows`` of the proposal are numbers with commas between, all when left out."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 7
    rows: Annotated[str, Meta(pattern="^([1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*)?$", max_length=60_000)] = ""

    @property
    def chosen(self) -> frozenset[int] | None:
        """The rows; ``None`` for those that are preselected."""
        return frozenset(map(int, self.rows.split(","))) if self.rows else None


class ReplayQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What was used within so many ``days``."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 7


class InStages(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a revision comes into force: at once, or ``staged`` as in `RolloutBody`."""

    staged: bool = False
    share_percent: Annotated[int, Meta(ge=1, le=99)] = 20
    hold_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 60
    max_denials: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    @property
    def plan(self) -> Plan | None:
        """The stages; ``None`` for at once."""
        return Plan(self.share_percent, self.hold_seconds, self.max_denials) if self.staged else None


class ApproveBody(InStages, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``rows`` are counted from 1; without them those that are preselected are approved. The rest is their lease.

    ``override_review`` is why an admin puts them into force without others who have to agree. With ``staged`` they come into force
    in stages, as a rollout does.
    """

    rows: Annotated[list[Annotated[int, Meta(ge=1, le=1_000_000)]], Meta(min_length=1, max_length=MAX_ROWS)] | None = None
    comment: _Comment = ""
    owner: _Name = ""
    reason: _Comment = ""
    ticket: _Comment = ""
    expires_ms: Annotated[int, Meta(ge=1, le=MAX_MS)] | None = None
    override_review: _Comment = ""


class CommentBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What is said about the edge of a row, which is counted from 1."""

    row: Annotated[int, Meta(ge=1, le=1_000_000)]
    text: Annotated[str, Meta(min_length=1, max_length=1000)]


class RejectBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why. ``rows`` are counted from 1; without them the whole proposal is rejected."""

    comment: _Comment = ""
    rows: Annotated[list[Annotated[int, Meta(ge=1, le=1_000_000)]], Meta(min_length=1, max_length=MAX_ROWS)] | None = None


class ModesBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Either ``services`` or ``all``. ``override`` is why services that are not ready are enforced all the same."""

    mode: ModeName
    services: Annotated[list[_Name], Meta(min_length=1, max_length=10_000)] | None = None
    all: bool = False
    comment: _Comment = ""
    override: _Comment = ""


class ReleaseBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A quarantined service, which gets back the mode that it had before."""

    service: _Name
    comment: _Comment = ""


class ImportedEnd(Struct, frozen=True, forbid_unknown_fields=True):
    """One end of an imported flow, as `flows.imports.model.End`."""

    namespace: _Name = ""
    account: _Name = ""
    app: _Name = ""
    workload: _Name = ""
    address: _Name = ""
    host: _Name = ""


class ImportedFlow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One imported flow, as `flows.imports.model.Imported`."""

    source: ImportedEnd
    destination: ImportedEnd
    port: Annotated[int, Meta(ge=1, le=65535)]
    protocol: Annotated[str, Meta(max_length=32)]
    verdict: Literal["allowed", "would-deny", "denied"]
    inbound: bool
    at_ms: _Id
    method: Annotated[str, Meta(max_length=64)] = ""
    path: Annotated[str, Meta(max_length=1024)] = ""
    reason: _Name = ""


class ImportBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A batch of an import. ``epoch`` names the import, ``number`` counts its batches from 1: sent again, one counts once."""

    epoch: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    number: Annotated[int, Meta(ge=1, le=2**53)]
    log: _Name
    format: Annotated[str, Meta(max_length=32)]
    flows: Annotated[list[ImportedFlow], Meta(max_length=20_000)]


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many, newest first; with ``after_id`` (0 for all) the next ones after an event, oldest first."""

    after_id: _Id | None = None
    limit: _Limit = 50
    cursor: _Cursor = ""


class AuditVerifyQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``head`` is an ``ID:HASH`` that was kept: the log has to hold that event as it was."""

    head: _Name = ""


class RevisionsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many, newest first."""

    limit: _FewDocuments = 20
    cursor: _Cursor = ""


class ConfigQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``type`` keeps the resources of one type."""

    type: Literal["CDS", "EDS", "LDS", "RDS", "SDS", "ECDS"] | None = None


class DiffQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Two revisions; ``after`` is the one in force unless given, ``before`` the one before it. 0 is the empty policy."""

    before: _Id | None = None
    after: _Id | None = None


class RollbackBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose rules come into force again, as a new revision. 0 is the empty policy."""

    revision: _Id
    comment: _Comment = ""


class PolicyFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A YAML file of `TrafficPolicy` documents; ``name`` is for messages."""

    name: _Name
    text: Annotated[str, Meta(max_length=4 * 1024 * 1024)]


class ReadinessQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """One service, or all."""

    service: _Name = ""


class ExplainQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to a service; without a ``port`` to its first one. ``source`` is a workload, or "ip:ADDRESS"."""

    source: Annotated[_Name, Meta(min_length=1)]
    destination: Annotated[_Name, Meta(min_length=1)]
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    method: Annotated[str, Meta(max_length=64)] = ""
    path: Annotated[str, Meta(max_length=1024)] = ""


class ReplayBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Files as if they were applied, on what was used within so many ``days``; ``prune`` as in `ApplyBody`."""

    files: Annotated[list[PolicyFile], Meta(min_length=1, max_length=10_000)]
    prune: bool = False
    days: Annotated[int, Meta(ge=1, le=3650)] = 7


class ApplyBody(InStages, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``expected`` is the revision that the files were compared with; ``prune`` takes away rules of services without a document.

    ``override`` is why services that are not ready are enforced all the same, ``override_review`` why an admin changes rules
    without those who have to agree.
    """

    files: Annotated[list[PolicyFile], Meta(min_length=1, max_length=10_000)]
    prune: bool = False
    expected: _Id | None = None
    comment: _Comment = ""
    override: _Comment = ""
    override_review: _Comment = ""


class ViolationCountQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Empty fields match everything. ``q`` is a line of `violations.line`, ``text`` is in any text; ``probes`` shows those, too."""

    q: Annotated[str, Meta(max_length=MAX_LENGTH)] = ""
    source: _Name = ""
    destination: _Name = ""
    verdict: Literal["denied", "would-deny"] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    text: _Name = ""
    since_ms: _Id = 0
    probes: bool = False


class ViolationsQuery(ViolationCountQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """With ``after_id`` (0 for all), violations come in the order of their ids, to follow them.

    ``cursor`` goes on with older ones.
    """

    after_id: _Id | None = None
    limit: Annotated[int, Meta(ge=1, le=5000)] = 100
    cursor: Annotated[str, Meta(pattern=PLACE)] = ""


class ExportQuery(ViolationCountQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The newest violations as a file, at most so many."""

    format: Literal["csv", "ndjson", "ocsf"]
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000


class TokenBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A join token for one workload, good once and for ``lifetime_seconds`` (0: an hour)."""

    workload: _Name
    lifetime_seconds: Annotated[int, Meta(ge=0, le=7 * 86400)] = 0


class RotateBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A ``step`` of the authority's rotation; ``now`` also where something speaks against it, and with a ``reason``."""

    step: Literal["prepare", "activate", "retire"] = "prepare"
    now: bool = False
    reason: Annotated[str, Meta(max_length=500)] = ""


class SidecarsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many, by workload and instance."""

    limit: _Rows = 10_000
    cursor: _Cursor = ""


class AsksQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many, oldest first."""

    limit: _Rows = 10_000
    cursor: _Cursor = ""


class LeasesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Only of one service; only leases that end within ``expiring`` days; only edges that were not used for ``unused`` days."""

    service: _Name = ""
    expiring: Annotated[int, Meta(ge=0, le=36_500)] | None = None
    unused: Annotated[int, Meta(ge=0, le=36_500)] | None = None
    limit: _Rows = 10_000
    cursor: _Cursor = ""


class LeaseBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The lease of an approved edge; without ``expires_ms`` it has no end."""

    source: _Name
    destination: _Name
    port: Annotated[int, Meta(ge=1, le=65535)]
    owner: _Name = ""
    reason: _Comment = ""
    ticket: _Comment = ""
    expires_ms: Annotated[int, Meta(ge=1, le=MAX_MS)] | None = None


class AskBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An edge that is wanted. ``again``: also when it was rejected before."""

    source: _Name
    destination: _Name
    port: Annotated[int, Meta(ge=1, le=65535)]
    http: Annotated[list[MatchBody], Meta(max_length=200)] = []
    protocol: Annotated[str, Meta(max_length=32)] = ""
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    link: Annotated[str, Meta(max_length=1000)] = ""
    again: bool = False
