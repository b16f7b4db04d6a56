"""Review on a real store: what a person decides is in force, audited, and never takes another's decision away."""

from __future__ import annotations

from uuid import uuid4

import msgspec

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.proposal import load_proposal
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode
from controlplane.store.sql import SqlStore
from controlplane.store.stored import StoredProposal
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused, Why
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.mesh import CART, DB, NOW_MS, TOPOLOGY, TRUST_DOMAIN, WEB

CART_NAME, DB_NAME, WEB_NAME = (ServiceName("shop", name) for name in ("cart", "db", "web"))
WEB_TO_CART = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/Cart/Add")
CART_TO_DB = EdgeKey("shop/cart", "shop/db", 3306, "mysql")


def learn(store: SqlStore, *edges: EdgeKey) -> None:
    """These were used."""
    flows = [Flow(edge, Verdict.ALLOWED, edge.destination, "in", 1, NOW_MS, NOW_MS) for edge in edges]
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "0", uuid4().hex, 1, flows, 0, NOW_MS)


def proposed(review: Review) -> StoredProposal:
    """The open proposal."""
    proposal = review.refresh_proposal()
    assert proposal is not None
    return proposal


def callers(publisher: Publisher) -> dict[ServiceName, set[str]]:
    """Who may call whom."""
    return {name: {str(rule.source) for rule in listed.rules} for name, listed in publisher.policy.services.items() if listed.rules}


def audited(store: SqlStore) -> tuple[str, str, str, dict[str, object]]:
    """The newest audit event."""
    row = store.audit(1)[0]
    return row.actor, row.action, row.subject, msgspec.json.decode(row.detail)


def test_nothing_learned_proposes_nothing(review: Review, store: SqlStore) -> None:
    """No empty proposals."""
    assert review.refresh_proposal() is None
    assert store.proposals(None, 10) == []


def test_a_proposal_stays_until_something_else_is_learned(review: Review, store: SqlStore) -> None:
    """The same edges again are the same proposal; another edge supersedes it, so there is one that is open."""
    learn(store, WEB_TO_CART)
    first = proposed(review)
    learn(store, WEB_TO_CART)
    assert proposed(review).number == first.number
    learn(store, CART_TO_DB)
    second = proposed(review)
    assert [(p.number, p.status) for p in store.proposals(None, 10)] == [(second.number, "open"), (first.number, "superseded")]
    assert isinstance(review.approve(first.number, "ana"), Refused)


def test_approval_puts_the_edges_into_force(review: Review, store: SqlStore, publisher: Publisher, changes: list[Change]) -> None:
    """Revision, decision and audit event together; then those that it concerns are told, and nothing is left to propose."""
    learn(store, WEB_TO_CART, CART_TO_DB)
    number = proposed(review).number
    assert review.approve(number, "ana", "looks right") == Published(1, (CART_NAME, DB_NAME, WEB_NAME))
    assert callers(publisher) == {CART_NAME: {"shop/web"}, DB_NAME: {"shop/cart"}}
    assert store.active_revision() == 1
    decided = store.proposal(number)
    assert decided is not None
    assert (decided.status, decided.decided_by, decided.revision) == ("approved", "ana", 1)
    actor, action, subject, detail = audited(store)
    assert (actor, action, subject) == ("ana", "proposal:approve", str(number))
    assert detail == {"proposal": number, "edges": 2, "rows": [1, 2], "comment": "looks right", "revision": 1}
    assert changes == [Change(1, frozenset({WEB, CART, DB}), everyone=False)]
    assert review.refresh_proposal() is None


def test_rows_are_approved_alone_and_the_rest_is_proposed_again(review: Review, store: SqlStore, publisher: Publisher) -> None:
    """A row that is not there refuses all of it."""
    learn(store, WEB_TO_CART, CART_TO_DB)
    number = proposed(review).number
    for rows in ([0], [3], [1, 3]):
        refused = review.approve(number, "ana", rows=rows)
        assert isinstance(refused, Refused)
        assert refused.why is Why.INVALID
    assert store.active_revision() == 0
    assert isinstance(review.approve(number, "ana", rows=[1]), Published)
    assert callers(publisher) == {CART_NAME: {"shop/web"}}
    assert audited(store)[3]["rows"] == [1]
    assert isinstance(review.approve(proposed(review).number, "ana"), Published)
    assert callers(publisher) == {CART_NAME: {"shop/web"}, DB_NAME: {"shop/cart"}}


def test_a_decided_proposal_is_not_decided_again(review: Review, store: SqlStore) -> None:
    """Nor is one that never was; a refusal makes no revision and no audit event."""
    learn(store, WEB_TO_CART)
    number = proposed(review).number
    assert isinstance(review.approve(number, "ana"), Published)
    events = len(store.audit(10))
    for answer, why in (
        (review.approve(number, "bo"), Why.CONFLICT),
        (review.reject(number, "bo"), Why.CONFLICT),
        (review.approve(99, "bo"), Why.MISSING),
        (review.reject(99, "bo"), Why.MISSING),
        (review.rollback(99, "bo"), Why.MISSING),
        (review.modes.change([CART_NAME, ServiceName("shop", "none")], Mode.ENFORCE, "bo"), Why.MISSING),
    ):
        assert isinstance(answer, Refused)
        assert answer.why is why
    assert (store.active_revision(), len(store.audit(10)), store.modes()) == (1, events, {})


def test_a_rejected_edge_is_not_proposed_again_and_can_still_be_approved(
    review: Review, store: SqlStore, publisher: Publisher
) -> None:
    """Rejecting changes nothing that is in force; minds change."""
    learn(store, WEB_TO_CART)
    number = proposed(review).number
    assert isinstance(review.reject(number, "ana", "no"), Done)
    assert audited(store)[:3] == ("ana", "proposal:reject", str(number))
    assert callers(publisher) == {}
    learn(store, WEB_TO_CART)
    assert review.refresh_proposal() is None
    assert isinstance(review.approve(number, "bo"), Published)
    assert callers(publisher) == {CART_NAME: {"shop/web"}}


def test_a_new_method_on_a_rejected_edge_is_proposed(review: Review, store: SqlStore) -> None:
    called = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/shop.Cart/Get")
    learn(store, called)
    review.reject(proposed(review).number, "ana", "no")
    learn(store, called._replace(path="/shop.Cart/Add"))
    (row,) = load_proposal(proposed(review).document)
    assert row.edge.http == (HttpMatch("POST", "/shop.Cart/Add"),)


def test_rollback_is_a_new_revision_with_old_rules(review: Review, store: SqlStore, publisher: Publisher) -> None:
    """History stays; modes are not rolled back; revision 0 is the empty allow-list."""
    learn(store, WEB_TO_CART)
    review.approve(proposed(review).number, "ana")
    learn(store, CART_TO_DB)
    review.approve(proposed(review).number, "ana")
    review.modes.change([CART_NAME], Mode.ENFORCE, "ana")
    answer = review.rollback(1, "bo")
    assert isinstance(answer, Published)
    assert answer.revision == 3
    assert DB_NAME in answer.services
    assert callers(publisher) == {CART_NAME: {"shop/web"}}
    assert publisher.policy.of(DB_NAME).revoked == {3306: 3}
    assert publisher.policy.mode(CART_NAME) is Mode.ENFORCE
    assert audited(store)[:3] == ("bo", "policy:rollback", "1")
    assert isinstance(review.rollback(0, "bo"), Published)
    assert callers(publisher) == {}
    assert [revision.number for revision in store.revisions(10)] == [4, 3, 2, 1]


def test_a_mode_is_in_force_at_once(review: Review, store: SqlStore, publisher: Publisher, changes: list[Change]) -> None:
    """Every caller may have something new by it; the audit event says what it was before."""
    assert isinstance(review.modes.change([CART_NAME], Mode.ENFORCE, "ana", "ready"), Done)
    assert (publisher.policy.mode(CART_NAME), publisher.policy.mode(DB_NAME)) == (Mode.ENFORCE, Mode.LEARN)
    assert audited(store) == ("ana", "service:mode", "shop/cart", {"mode": "enforce", "before": "learn", "comment": "ready"})
    assert changes == [Change(0, frozenset({CART}), everyone=True)]
    assert publisher.policy.is_quarantined(WorkloadId("shop", "cart")) is False


def test_who_was_slower_takes_nothing_away(review: Review, store: SqlStore, publisher: Publisher) -> None:
    """A control plane that has not seen the newest revision cannot publish over it; afterwards it has, and can."""
    slower_publisher = Publisher(store, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)
    slower = Review(store, slower_publisher, lambda: NOW_MS)
    learn(store, WEB_TO_CART, CART_TO_DB)
    assert isinstance(review.approve(proposed(review).number, "ana", rows=[1]), Published)
    learned = review.refresh_proposal()
    assert learned is not None
    refused = slower.approve(learned.number, "bo")
    assert isinstance(refused, Refused)
    assert refused.why is Why.CONFLICT
    assert store.active_revision() == 1
    assert [revision.number for revision in store.revisions(10)] == [1]
    assert isinstance(slower.approve(learned.number, "bo"), Published)
    assert callers(slower_publisher) == {CART_NAME: {"shop/web"}, DB_NAME: {"shop/cart"}}
