"""Review: the proposals, one of them as a diff by service, and the decision about a choice of its rows. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes, proposal_schemas, proposal_shapes
from controlplane.api.leases import lease_of
from controlplane.api.problems import problem
from controlplane.api.reading import read_number
from controlplane.api.requests import InStages
from controlplane.graph.proposal import load_proposal
from controlplane.policy.roles import Role
from controlplane.policy.rules import Mode
from controlplane.store.interface import Store
from controlplane.store.stored import StoredProposal
from controlplane.web.choice import MAX_TEXT, read_rows, write_rows
from controlplane.web.forms import Days, read_form
from controlplane.web.guard import Console, require, who
from controlplane.web.leases import expiry_ms
from controlplane.web.services import modes_of
from controlplane.workflow.modes import Verdict
from controlplane.workflow.proposing import APPROVED, OPEN, REJECTED

#: Decided proposals that the list shows.
LISTED = 50
#: Rows of one page of a proposal: more cannot be looked at, nor be named in an address.
PAGE_ROWS = 400
#: What a person can decide: minds change, also about what was rejected.
DECIDABLE = frozenset({OPEN, REJECTED})
ROWS_REMEDY = "choose rows on the proposal's page"
_Line = Annotated[str, Meta(max_length=300)]


class Decision(InStages, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is decided about which ``rows`` ("1-4,7"), and the lease of what is allowed; ``days`` empty for one without end.

    ``override_review`` is why an admin goes on without others who have to agree; ``staged`` as in the API's `ApproveBody`.
    """

    rows: Annotated[str, Meta(max_length=MAX_TEXT)]
    act: Literal["approve", "reject"]
    comment: Annotated[str, Meta(max_length=1000)] = ""
    owner: _Line = ""
    ticket: _Line = ""
    days: Days = ""
    override_review: Annotated[str, Meta(max_length=1000)] = ""


class Said(Struct, frozen=True, forbid_unknown_fields=True):
    """A comment about the edge of a row."""

    text: Annotated[str, Meta(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are looked at together: ``title`` is a service, or why they stand by themselves; ``note`` says what to do."""

    title: str
    rows: Sequence[proposal_schemas.ProposedEdge]
    note: str = ""

    @property
    def numbers(self) -> str:
        """The rows as an address says them."""
        return write_rows([edge.row for edge in self.rows])


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("review", __name__)
    api = console.api

    @routes.get("/review")
    def several() -> str:
        waiting = api.review.refresh_proposal()
        rows = load_proposal(waiting.document) if waiting else ()
        odd = sum(bool(row.marks) for row in rows)
        opened = proposal_shapes.summary(waiting, rows) if waiting else None
        return flask.render_template(
            "review.html", opened=opened, odd=odd, decided=_decided(api.store), revisions=api.store.revisions(10),
            active=api.publisher.policy.revision,
        )  # fmt: skip

    @routes.get("/review/<number>")
    def one(number: str) -> str:
        api.review.refresh_proposal()
        stored = stored_proposal(console, number)
        rows = load_proposal(stored.document)
        samples, roles = api.review.learning.samples([row.edge for row in rows])
        standing = api.review.agreement.standing(rows, who(flask.g.session))
        shown = proposal_shapes.proposal(stored, rows, samples, roles, standing)
        chosen = chosen_rows() if "rows" in flask.request.args else frozenset(edge.row for edge in shown.edges if edge.preselected)
        page = flask.request.args.get("page", 1, type=int)
        pages = max(1, -(-len(shown.edges) // PAGE_ROWS))
        first = (min(max(page, 1), pages) - 1) * PAGE_ROWS
        listed = shown.edges[first : first + PAGE_ROWS]
        newest = next(iter(api.store.proposals(OPEN, 1)), None)
        return flask.render_template(
            "proposal.html", proposal=shown, groups=groups_of(listed), ready=readiness_of(console, listed), chosen=chosen,
            page=first // PAGE_ROWS + 1, pages=pages, newest=newest, odd=sum(bool(edge.marks) for edge in shown.edges),
            is_decidable=stored.status in DECIDABLE,
        )  # fmt: skip

    @routes.post("/review/<number>/decide")
    def decide(number: str) -> flask.typing.ResponseReturnValue:
        wanted, form = read_number(number, "proposal"), read_form(Decision)
        rows = read_rows([form.rows])
        if not rows:
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "form", "no rows are chosen", where="form.rows", remedy=ROWS_REMEDY)
        actor = who(flask.g.session)
        if form.act == "reject":
            outcomes.done(api.review.reject(wanted, actor, form.comment, rows), ROWS_REMEDY)
            return flask.redirect(flask.url_for("review.one", number=wanted), HTTPStatus.SEE_OTHER)
        lease = lease_of(form.owner, "", form.ticket, expiry_ms(form.days, api.clock_ms()))
        if form.override_review:
            require(Role.ADMIN)
        outcome = api.review.approve(wanted, actor, form.comment, rows, lease, form.override_review, form.plan)
        made = outcomes.approved(outcome, ROWS_REMEDY)
        if made.revision is None:  # each row says whom it waits for
            return flask.redirect(flask.url_for("review.one", number=wanted), HTTPStatus.SEE_OTHER)
        if made.staged:
            return flask.redirect(flask.url_for("rollouts.several"), HTTPStatus.SEE_OTHER)
        return flask.redirect(flask.url_for("revisions.one", number=made.revision), HTTPStatus.SEE_OTHER)

    @routes.get("/review/<number>/rows/<row>")
    def talk(number: str, row: str) -> str:
        stored, wanted = stored_proposal(console, number), read_number(row, "row")
        rows = load_proposal(stored.document)
        if wanted > len(rows):
            detail = f"proposal {stored.number} has rows 1 to {len(rows)}, not {wanted}"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=ROWS_REMEDY)
        samples, roles = api.review.learning.samples([rows[wanted - 1].edge])
        standing = api.review.agreement.standing(rows, who(flask.g.session))
        edge = proposal_shapes.proposal(stored, rows, samples, roles, standing).edges[wanted - 1]
        return flask.render_template("row.html", proposal=stored, edge=edge, is_decidable=stored.status in DECIDABLE)

    @routes.post("/review/<number>/rows/<row>")
    def comment(number: str, row: str) -> flask.typing.ResponseReturnValue:
        wanted, place = read_number(number, "proposal"), read_number(row, "row")
        outcome = api.review.agreement.comment(wanted, place, read_form(Said).text, who(flask.g.session))
        outcomes.done(outcome, "look at the row again")
        return flask.redirect(flask.url_for("review.talk", number=wanted, row=place), HTTPStatus.SEE_OTHER)

    return routes


def _decided(store: Store) -> list[proposal_schemas.ProposalSummary]:
    """The last proposals that were approved or rejected; between two of them there may be any number that were superseded."""
    found = [stored for status in (APPROVED, REJECTED) for stored in store.proposals(status, LISTED)]
    newest = sorted(found, key=lambda stored: stored.number, reverse=True)[:LISTED]
    return [proposal_shapes.summary(stored, load_proposal(stored.document)) for stored in newest]


def stored_proposal(console: Console, number: str) -> StoredProposal:
    """The proposal that an address names.

    Raises:
        ApiProblemError: there is none.
    """
    wanted = read_number(number, "proposal")
    stored = console.api.store.proposal(wanted)
    if stored is None:
        remedy = "look at the list of proposals"
        raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no proposal {wanted}", where="path", remedy=remedy)
    return stored


def chosen_rows() -> frozenset[int]:
    """The rows that the address names.

    Raises:
        ApiProblemError: it names something else.
    """
    rows = read_rows(flask.request.args.getlist("rows"))
    if rows is None:
        detail = "rows are numbers such as 1-4,7"
        raise problem(HTTPStatus.BAD_REQUEST, "query", detail, where="query.rows", remedy=ROWS_REMEDY)
    return rows


def readiness_of(console: Console, edges: Iterable[proposal_schemas.ProposedEdge]) -> Mapping[str, tuple[Mode, Verdict | None]]:
    """For each service that edges lead to: its mode, and whether enough was seen of it to be enforced, if it was watched."""
    known = {found.subject: (found, lacking) for found, lacking in console.api.review.modes.verdicts()[1]}
    called = sorted({edge.destination for edge in edges})
    return {name: (mode, known.get(name)) for name, mode in modes_of(console, called)}


def groups_of(edges: Iterable[proposal_schemas.ProposedEdge]) -> list[Group]:
    """Odd rows first, then what should go, then the others by the service that is called."""
    odd: list[proposal_schemas.ProposedEdge] = []
    going: list[proposal_schemas.ProposedEdge] = []
    by_service: dict[str, list[proposal_schemas.ProposedEdge]] = {}
    for edge in edges:
        if edge.marks:
            odd.append(edge)
        elif edge.removal:
            going.append(edge)
        else:
            by_service.setdefault(edge.destination, []).append(edge)
    found = [Group(title, rows) for title, rows in sorted(by_service.items())]
    if going:
        found.insert(0, Group("To be taken away", going, "Approved edges that are not needed any more, as it seems."))
    if odd:
        found.insert(0, Group("Odd", odd, "Look at each: these are taken only when you choose them."))
    return found
