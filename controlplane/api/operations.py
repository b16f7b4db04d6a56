"""What each endpoint takes and answers, by which the API is described. Runs none of them; a test holds the table complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from msgspec import Struct

from controlplane.api import account_schemas, incident_schemas, proposal_schemas, revisions, schemas
from controlplane.api import requests as asked
from controlplane.api import review_schemas as review
from controlplane.violations.exports import MEDIA_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint. ``answers`` are the bodies of a success with ``status``; without one, it is a text or free JSON.

    ``names`` is whether it looks for something by a name, so that it may be missing, ``conflicts`` whether a
    read may be refused as things stand.
    """

    summary: str
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    answers: tuple[type[Struct], ...] = ()
    status: HTTPStatus = HTTPStatus.OK
    names: bool = False
    conflicts: bool = False
    media_types: tuple[str, ...] = ("application/json",)


def _read(summary: str, query: type[Struct], answer: type[Struct], *, names: bool = False, conflicts: bool = False) -> Operation:
    return Operation(summary=summary, query=query, answers=(answer,), names=names, conflicts=conflicts)


def _write(summary: str, body: type[Struct], *answers: type[Struct], status: HTTPStatus = HTTPStatus.OK) -> Operation:
    return Operation(summary=summary, body=body, answers=answers, status=status, names=True)


#: Without their character sets, each once.
_FILES = tuple(dict.fromkeys(kind.partition(";")[0] for kind in MEDIA_TYPES.values()))
#: By Flask endpoint ("blueprint.function").
OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "health.live": _read("Whether the control plane lives", asked.Nothing, schemas.Health),
        "health.ready": _read("Whether the control plane serves", asked.Nothing, schemas.Health),
        "health.metrics": Operation(summary="Metrics for Prometheus", media_types=("text/plain",)),
        "openapi.show": Operation(summary="This description"),
        "map.show": _read("Services, and learned and approved edges", asked.MapQuery, schemas.Map, names=True),
        "map.draw": _read("The map as a drawing", asked.PictureQuery, schemas.Picture, names=True),
        "preview.in_force": _read("What enforcement would deny", asked.PreviewQuery, proposal_schemas.Preview),
        "preview.of_proposal": _read("The same with a proposal", asked.PreviewQuery, proposal_schemas.Preview, names=True),
        "replay.in_force": _read("Stored flows against what is in force", asked.ReplayQuery, review.Replay),
        "replay.of_proposal": _read("Stored flows against a proposal", asked.PreviewQuery, review.Replay),
        "replay.of_revision": _read("Stored flows against a revision", asked.ReplayQuery, review.Replay),
        "replay.of_files": _write("Stored flows against policy files", asked.ReplayBody, review.Replay),
        "parity.show": _read("Where sidecars said something else than the policy", asked.ReplayQuery, review.Parity),
        "owners.show": _read("Who has to agree to which edges", asked.Nothing, proposal_schemas.Ownership, conflicts=True),
        "readiness.show": _read("Whether enough was seen to enforce", asked.ReadinessQuery, review.Readiness, names=True),
        "explain.show": _read("What becomes of a request, and why", asked.ExplainQuery, revisions.Explanation, names=True),
        "asks.several": _read("Edges that are asked for", asked.AsksQuery, review.Asks),
        "asks.ask": _write("Ask for an edge", asked.AskBody, review.Asked),
        "leases.several": _read("Approved edges with their leases", asked.LeasesQuery, review.Leases, names=True),
        "leases.renew": _write("Set an approved edge's lease", asked.LeaseBody, schemas.Done),
        "policy.active": _read("The revision in force", asked.Nothing, revisions.Revision),
        "policy.objects": _read("How the cluster's TrafficPolicy objects stand", asked.Nothing, revisions.PolicyObjects),
        "policy.several": _read("Revisions", asked.RevisionsQuery, revisions.Revisions),
        "policy.one": _read("A revision", asked.Nothing, revisions.Revision),
        "policy.differences": _read("What differs between two revisions", asked.DiffQuery, revisions.Diff, names=True),
        "policy.rollback": _write("Put an older revision's rules into force", asked.RollbackBody, schemas.Published),
        "applying.apply": _write("Put policy files into force", asked.ApplyBody, schemas.Published, schemas.Done),
        "sidecars.several": _read("Sidecars", asked.SidecarsQuery, schemas.Sidecars),
        "sidecars.missing": _read("What should have a sidecar and has none", asked.Nothing, schemas.Unmeshed),
        "sidecars.config": _read("What a service's sidecars are told", asked.ConfigQuery, schemas.SidecarConfig),
        "violations.several": _read("Blocked and would-be-blocked flows", asked.ViolationsQuery, schemas.Violations),
        "violations.by_time": _read("How many there are, by time", asked.ViolationCountQuery, schemas.ViolationHistogram),
        "violations.count": _read("How many there are", asked.ViolationCountQuery, schemas.ViolationCount),
        "violations.export": Operation(
            summary="Violations as a CSV, NDJSON or OCSF file", query=asked.ExportQuery, media_types=_FILES
        ),
        "violations.one": _read("A violation", asked.Nothing, schemas.Violation),
        "incidents.several": _read("Groups of violations", asked.OpenQuery, incident_schemas.Incidents),
        "incidents.one": _read("An incident, its notes, and what it can reach", asked.Nothing, incident_schemas.IncidentDetail),
        "incidents.assign": _write("Give an incident to somebody", incident_schemas.AssignBody, schemas.Done),
        "incidents.close": _write("Be done with an incident", incident_schemas.ReasonBody, schemas.Done),
        "incidents.reopen": _write("Take an incident up again", incident_schemas.ReasonBody, schemas.Done),
        "incidents.note": _write("Write something down about an incident", incident_schemas.NoteBody, schemas.Done),
        "sinks.several": _read("Where violations and incidents go", asked.Nothing, schemas.Sinks),
        "authority.show": _read("The certificate authority, and its rotation", asked.Nothing, schemas.Authority),
        "authority.rotate": _write("Take a step of the authority's rotation", asked.RotateBody, schemas.Authority),
        "audit.several": _read("Who did what", asked.AuditQuery, schemas.Audit),
        "audit.verify": _read("Whether the audit log is as it was written", asked.AuditVerifyQuery, schemas.AuditVerdict),
        "break-glass.several": _read("Timed exceptions", asked.OpenQuery, review.Grants),
        "break-glass.begin": _write("Allow an edge for a time", asked.GrantBody, review.Granted),
        "break-glass.end": _write("End a timed exception", asked.Nothing, schemas.Published),
        "imports.take": _write("Learn a batch of another tool's log", asked.ImportBody, schemas.ImportReceipt),
        "users.several": _read("Local users", account_schemas.UsersQuery, account_schemas.NamedUsers),
        "users.create": _write("Make a local user", account_schemas.UserBody, account_schemas.NewUser, status=HTTPStatus.CREATED),
        "users.change": _write("Set what a user may do", account_schemas.ScopeBody, schemas.Done),
        "users.password": _write("Set a user's password", account_schemas.PasswordBody, schemas.Done),
        "access-tokens.several": _read("Users' tokens", account_schemas.AccessTokensQuery, account_schemas.AccessTokens),
        "access-tokens.create": _write(
            "Make a token of a user", account_schemas.AccessTokenBody, account_schemas.NewAccessToken, status=HTTPStatus.CREATED
        ),
        "access-tokens.revoke": _write("Take a token away", asked.Nothing, schemas.Done),
        "users.revoke": _write("Take a user away", account_schemas.RevokeBody, account_schemas.NamedUsers),
        "proposals.several": _read("Proposals", asked.ProposalsQuery, proposal_schemas.Proposals),
        "proposals.one": _read("A proposal with its rows", asked.Nothing, proposal_schemas.Proposal),
        "proposals.approve": _write("Approve rows of a proposal", asked.ApproveBody, proposal_schemas.Approved),
        "proposals.comment": _write("Say something about a proposal", asked.CommentBody, schemas.Done),
        "proposals.reject": _write("Reject a proposal or rows of it", asked.RejectBody, schemas.Done),
        "modes.show": _read("Modes of services", asked.Nothing, schemas.Modes),
        "modes.release": _write("End a quarantine", asked.ReleaseBody, schemas.Done),
        "modes.change": _write("Set services' mode", asked.ModesBody, schemas.Done),
        "rollouts.several": _read("Staged rollouts", asked.OpenQuery, review.Rollouts),
        "rollouts.start": _write("Enforce services in stages", asked.RolloutBody, review.Rollouts),
        "rollouts.one": _read("A rollout and its sidecars", asked.Nothing, review.RolloutView),
        "rollouts.pause": _write("Hold a rollout up in its stage", asked.Nothing, schemas.Done),
        "rollouts.resume": _write("Let a rollout go on", asked.Nothing, schemas.Done),
        "rollouts.stop": _write("End a rollout where it is", asked.Nothing, schemas.Done),
        "rollouts.roll_back": _write("Take a rollout back", asked.Nothing, schemas.Done),
        "proofs.several": _read("Whether enforcement is proved", asked.ProofsQuery, review.Proofs),
        "proofs.ask": _write("Try whether services enforce", asked.ProofBody, review.Proofs),
        "tokens.create": _write("Let a sidecar join", asked.TokenBody, status=HTTPStatus.CREATED),
    }
)
