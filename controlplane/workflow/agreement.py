"""Who has to agree to what a proposal asks, who did, and what people said about it. Publishes nothing.

The owners file is read for each decision: what is in it now counts, and while it cannot be read nothing is agreed to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.graph.gate import BadReason, kept_reason
from controlplane.graph.proposal import load_proposal
from controlplane.graph.rows import ReviewRow, question_of
from controlplane.policy.actors import person
from controlplane.policy.approvals import APPROVAL_DAYS, Approval, Comment, Needed
from controlplane.policy.owners import Owners, OwnersError
from controlplane.policy.traffic_policy import Lease
from controlplane.store.interface import Store
from controlplane.topology.model import ServiceName
from controlplane.workflow.revisions import Done, Published, Refused, Why, as_json

_DAY_MS = 86_400_000
_ByName = Mapping[str, tuple[str, ...]]
#: Comments that one row may have.
MAX_COMMENTS = 200


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A row that was agreed to and waits for others; ``lacks`` says for whom."""

    row: int
    edge: str
    lacks: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """It is written down that somebody agreed to rows that wait for others; ``published`` is what is in force of the rest."""

    waiting: tuple[WaitingRow, ...]
    published: Published | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The rows that may go into force, with who agreed to them before, and those that wait.

    ``detail`` is what the audit log keeps of an override.
    """

    ready: Mapping[int, ReviewRow]
    given: Mapping[int, Sequence[Approval]]
    waiting: tuple[WaitingRow, ...] = ()
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a row stands: the owners of its ends, who agreed, what was said, and what it lacks beside the reader's word."""

    owners: tuple[str, ...]
    source_owners: tuple[str, ...]
    approvals: tuple[Approval, ...]
    comments: tuple[Comment, ...]
    lacks: str
    mine: bool


class Agreement:
    """The keeper of approvals and comments."""

    def __init__(
        self,
        store: Store,
        clock_ms: Callable[[], int],
        owners: Callable[[], Owners] = Owners,
        *,
        four_eyes: bool = False,
        keepers: Collection[str] = (),
    ) -> None:
        """``owners`` reads the owners file, and raises `OwnersError`; ``four_eyes`` asks for two persons for each edge.

        ``keepers`` are users of this machine who can take the control plane's own token.
        """
        self._store = store
        self._clock_ms = clock_ms
        self._owners = owners
        self._four_eyes = four_eyes
        self._keepers = frozenset(keepers)

    def owners(self) -> Owners:
        """The owners file as it is now.

        Raises:
            OwnersError: it cannot be read.
        """
        return self._owners()

    @property
    def four_eyes(self) -> bool:
        """Whether two persons have to agree to each edge."""
        return self._four_eyes

    def agree(
        self, number: int, rows: Mapping[int, ReviewRow], actor: str, lease: Lease, comment: str = "", override_reason: str = ""
    ) -> Split | Refused:
        """Somebody agrees to rows of a proposal: those that lack nothing are ready, the others wait with it written down.

        What is said for the ``lease`` of rows that wait is kept with that.
        """
        try:
            owners = self._owners().of_each(asks.edge.destination for asks in rows.values())
        except OwnersError as error:
            return _unreadable(error)
        needed = {row: self._needed(owners, asks) for row, asks in rows.items()}
        questions = {row: question_of(rows[row]) for row, needs in needed.items() if needs.owners or needs.four_eyes}
        given = self._given(questions)
        waiting = _lacking(needed, given, actor)
        if override_reason and waiting:
            detail = _overridden(override_reason, {str(row): lacks for row, lacks in waiting.items()})
            return detail if isinstance(detail, Refused) else Split(rows, given, detail=detail)
        if waiting:
            self._write_down(number, {row: questions[row] for row in sorted(waiting)}, actor, lease, comment)
            # Somebody may have agreed at the same time: who comes last finds both.
            given = self._given(questions)
            waiting = _lacking(needed, given, actor)
        ready = {row: asks for row, asks in rows.items() if row not in waiting}
        return Split(ready, given, tuple(WaitingRow(row, _edge(rows[row]), lacks) for row, lacks in waiting.items()))

    def pass_documents(
        self, services: Collection[ServiceName], actor: str, override_reason: str = ""
    ) -> Mapping[str, object] | Refused:
        """Whether somebody may change rules by documents, which nobody else agrees to; what the audit log keeps of an override."""
        try:
            owners = self._owners()
        except OwnersError as error:
            return _unreadable(error)
        lacking = {
            str(service): lacks
            for service in sorted(services)
            if (lacks := Needed(owners.of(str(service)), self._four_eyes).lacks([actor]))
        }
        if not lacking:
            return {}
        if override_reason:
            return _overridden(override_reason, lacking)
        service, lacks = next(iter(lacking.items()))
        more = f", and {len(lacking) - 1} other services lack somebody as well" if len(lacking) > 1 else ""
        how = "documents are applied by an owner, or by an admin with a reason"
        return Refused(f"{service} needs {lacks}{more}; {how}", Why.CONFLICT)

    def comment(self, number: int, row: int, text: str, actor: str) -> Done | Refused:
        """Say something about the edge of a row; it stands there whenever the edge is reviewed."""
        proposal = self._store.proposal(number)
        if proposal is None:
            return Refused(f"there is no proposal {number}", Why.MISSING)
        rows = load_proposal(proposal.document)
        if not 1 <= row <= len(rows):
            return Refused(f"proposal {number} has rows 1 to {len(rows)}, not {row}", Why.INVALID)
        if not text.strip():
            return Refused("the comment is empty", Why.INVALID)
        edge, now_ms = _edge(rows[row - 1]), self._clock_ms()
        with self._store.transaction() as transaction:
            if len(self._store.comments([edge])) >= MAX_COMMENTS:
                return Refused(f"row {row} has {MAX_COMMENTS} comments already", Why.CONFLICT)
            transaction.add_comment(Comment(0, edge, actor, text.strip(), now_ms))
            transaction.add_audit(actor, "proposal:comment", str(number), as_json({"row": row, "comment": text.strip()}), now_ms)
        return Done(f"the comment stands at row {row} of proposal {number}")

    def standing(self, rows: Iterable[ReviewRow], reader: str) -> list[Standing]:
        """Where each row stands."""
        listed = list(rows)
        questions = {number: question_of(row) for number, row in enumerate(listed)}
        trouble = ""
        try:
            file = self._owners()
        except OwnersError as error:
            file, trouble = Owners(), f"an owners file that can be read: {error}"
        owners = file.of_each(name for row in listed for name in (row.edge.source, row.edge.destination))
        given = self._given(questions)
        said: dict[str, list[Comment]] = {}
        for comment in self._store.comments([_edge(row) for row in listed]):
            said.setdefault(comment.edge, []).append(comment)
        return [
            self._stands(row, owners, given[number], tuple(said.get(_edge(row), ())), trouble, person(reader))
            for number, row in enumerate(listed)
        ]

    def _stands(
        self, row: ReviewRow, owners: _ByName, given: tuple[Approval, ...], said: tuple[Comment, ...], trouble: str, reader: str
    ) -> Standing:
        needed = self._needed(owners, row)
        lacks = trouble or needed.lacks(approval.actor for approval in given)
        return Standing(needed.owners, owners[row.edge.source], given, said, lacks, reader in needed.owners)

    def _needed(self, owners: _ByName, row: ReviewRow) -> Needed:
        return Needed(owners[row.edge.destination], self._four_eyes, "" if row.asked is None else row.asked.by, self._keepers)

    def _given(self, questions: Mapping[int, str]) -> dict[int, tuple[Approval, ...]]:
        """Who agreed to the question of each row, in the order in which they did."""
        found: dict[str, list[Approval]] = {}
        since_ms = self._clock_ms() - APPROVAL_DAYS * _DAY_MS
        for approval in self._store.approvals(questions.values(), since_ms) if questions else ():
            found.setdefault(approval.question, []).append(approval)
        return {row: tuple(found.get(question, ())) for row, question in questions.items()}

    def _write_down(self, number: int, questions: Mapping[int, str], actor: str, lease: Lease, comment: str) -> None:
        now_ms = self._clock_ms()
        detail: dict[str, object] = {"rows": list(questions), "comment": comment}
        with self._store.transaction() as transaction:
            transaction.add_approvals(Approval(question, actor, now_ms, lease) for question in questions.values())
            transaction.add_audit(actor, "proposal:agree", str(number), as_json(detail), now_ms)


def _lacking(needed: Mapping[int, Needed], given: Mapping[int, Sequence[Approval]], actor: str) -> dict[int, str]:
    """What each row that needs somebody lacks with this actor's word; rows that lack nothing are left out."""
    lacks = {row: needed[row].lacks([actor, *(approval.actor for approval in agreed)]) for row, agreed in given.items()}
    return {row: text for row, text in lacks.items() if text}


def _edge(row: ReviewRow) -> str:
    return f"{row.edge.source} -> {row.edge.destination}:{row.edge.port}"


def _overridden(text: str, lacked: Mapping[str, str]) -> Mapping[str, object] | Refused:
    """What the audit log keeps of somebody who goes on without approvals."""
    reason = kept_reason(text)
    if isinstance(reason, BadReason):
        return Refused(f"the reason to go on without approvals: {reason.text}", Why.INVALID)
    return {"override_review": reason, "lacked": lacked}


def _unreadable(error: OwnersError) -> Refused:
    return Refused(f"nobody can say who has to agree: {error}", Why.CONFLICT)
