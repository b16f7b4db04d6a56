"""Agreeing on a real store: what lacks an owner or a second person waits, with who agreed written down."""

from __future__ import annotations

import pytest

from controlplane.graph.proposal import load_proposal
from controlplane.policy.actors import CONSOLE_OWNER, claimed
from controlplane.policy.leases import from_ms
from controlplane.policy.owners import Owners, OwnersError, parse_owners
from controlplane.policy.rules import Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import documents_of, read_documents
from controlplane.policy.traffic_policy import Lease, TrafficPolicy
from controlplane.store.sql import SqlStore
from controlplane.workflow.agreement import MAX_COMMENTS, Agreed, Agreement, Standing
from controlplane.workflow.asking import Asking, Waiting
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused, Why
from tests.controlplane.workflow.conftest import Clock
from tests.controlplane.workflow.test_review import CART_NAME, CART_TO_DB, DB_NAME, WEB_TO_CART, audited, callers, learn, proposed
from tests.harness.mesh import NOW_MS, WEB

DAY_MS = 86_400_000
OWNERS = parse_owners("shop/cart dora emil\nshop/web frida")


def reviewing(store: SqlStore, publisher: Publisher, clock: Clock, owners: Owners = OWNERS, *, four_eyes: bool = False) -> Review:
    return Review(store, publisher, clock, agreement=Agreement(store, clock, lambda: owners, four_eyes=four_eyes))


@pytest.fixture
def owned(store: SqlStore, publisher: Publisher, clock: Clock) -> Review:
    """A review where cart has owners and the database has none; both were used."""
    learn(store, WEB_TO_CART, CART_TO_DB)
    return reviewing(store, publisher, clock)


def standing(review: Review, reader: str = "ana") -> list[Standing]:
    return review.agreement.standing(load_proposal(proposed(review).document), reader)


def test_what_nobody_owns_goes_and_the_rest_waits_for_an_owner(owned: Review, publisher: Publisher, store: SqlStore) -> None:
    """The proposal that is left has the row with who agreed; an owner's word is what it lacked."""
    outcome = owned.approve(proposed(owned).number, "ana", "looks right")
    assert isinstance(outcome, Agreed)
    assert outcome.published is not None
    ((row, edge, lacks),) = ((w.row, w.edge, w.lacks) for w in outcome.waiting)
    assert (edge, lacks) == ("shop/web -> shop/cart:7070", "dora or emil, who own it")
    assert row in {1, 2}
    assert callers(publisher) == {DB_NAME: {"shop/cart"}}
    (left,) = standing(owned, "dora")
    assert [given.actor for given in left.approvals] == ["ana"]
    assert (left.owners, left.source_owners, left.mine) == (("dora", "emil"), ("frida",), True)
    assert isinstance(owned.approve(proposed(owned).number, "emil"), Published)
    assert callers(publisher) == {DB_NAME: {"shop/cart"}, CART_NAME: {"shop/web"}}
    assert [event.action for event in store.audit(9)].count("proposal:agree") == 1


def test_nothing_is_in_force_while_all_wait(owned: Review, publisher: Publisher, store: SqlStore) -> None:
    number = proposed(owned).number
    owned.approve(number, "ana")
    again = owned.approve(proposed(owned).number, "ana")
    assert isinstance(again, Agreed)
    assert again.published is None
    assert CART_NAME not in callers(publisher)
    assert audited(store)[:3] == ("ana", "proposal:agree", str(number + 1))


def test_four_eyes_are_two_persons_whoever_comes_last(store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    """Claims of the control plane's own token are one person, however many names it gives itself."""
    learn(store, CART_TO_DB)
    review = reviewing(store, publisher, clock, four_eyes=True)
    number = proposed(review).number
    for actor in (claimed("ana"), claimed("ben"), claimed("ana")):
        assert isinstance(review.approve(number, actor), Agreed)
    assert callers(publisher) == {}
    assert isinstance(review.approve(number, "carol"), Published)
    assert callers(publisher) == {DB_NAME: {"shop/cart"}}


def test_what_the_first_says_for_the_lease_holds_where_the_last_says_nothing(
    store: SqlStore, publisher: Publisher, clock: Clock
) -> None:
    """And who agreed before, and what they said, is in the audit log."""
    learn(store, CART_TO_DB)
    review = reviewing(store, publisher, clock, four_eyes=True)
    number = proposed(review).number
    given = Lease("team-web", ticket="OPS-7", expires=from_ms(NOW_MS + DAY_MS))
    assert isinstance(review.approve(number, "ana", "the cart is kept there", lease=given), Agreed)
    assert audited(store) == ("ana", "proposal:agree", str(number), {"rows": [1], "comment": "the cart is kept there"})
    assert isinstance(review.approve(number, "ben", "yes", lease=Lease(ticket="OPS-8")), Published)
    ((held, by),) = ((lease.lease, lease.actor) for lease in store.leases())
    assert held == Lease("team-web", "the cart is kept there", "OPS-8", given.expires)
    assert by == "ben"
    assert audited(store)[3]["agreed"] == {"ana": [1]}


def test_whoever_runs_the_control_plane_is_one_person_with_its_token(store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    learn(store, CART_TO_DB)
    review = Review(store, publisher, clock, agreement=Agreement(store, clock, four_eyes=True, keepers={"root"}))
    number = proposed(review).number
    for actor in ("root", claimed("root"), CONSOLE_OWNER):
        assert isinstance(review.approve(number, actor), Agreed)
    assert isinstance(review.approve(number, "ana"), Published)


def test_nobody_agrees_to_their_own_wish(store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    review = reviewing(store, publisher, clock, Owners(), four_eyes=True)
    rule = Rule(WEB, 7070)
    assert isinstance(Asking(store, publisher, clock).ask(CART_NAME, rule, "grpc", "ana", "needed"), Waiting)
    number = proposed(review).number
    for actor in ("ana", "ben"):
        assert isinstance(review.approve(number, actor, rows=[1]), Agreed)
    assert isinstance(review.approve(number, "carol", rows=[1]), Published)


def test_an_approval_is_for_what_was_asked_and_for_a_time(owned: Review, store: SqlStore, clock: Clock) -> None:
    """More methods are another question; after a month an approval is forgotten."""
    owned.approve(proposed(owned).number, "ana")
    assert [len(row.approvals) for row in standing(owned)] == [1]
    clock.now_ms += 31 * DAY_MS
    assert [len(row.approvals) for row in standing(owned)] == [0]
    clock.now_ms -= 31 * DAY_MS
    learn(store, WEB_TO_CART._replace(path="/Cart/Empty"))
    assert [len(row.approvals) for row in standing(owned)] == [0]


def test_what_is_rejected_forgets_who_agreed(owned: Review, store: SqlStore) -> None:
    owned.approve(proposed(owned).number, "ana")
    number = proposed(owned).number
    assert isinstance(owned.reject(number, "ben"), Done)
    stored = store.proposal(number)
    assert stored is not None
    assert [row.approvals for row in owned.agreement.standing(load_proposal(stored.document), "ana")] == [()]
    assert isinstance(owned.approve(number, "ben"), Agreed)


def test_going_on_without_takes_a_reason_which_is_kept(owned: Review, store: SqlStore, publisher: Publisher) -> None:
    number = proposed(owned).number
    refused = owned.approve(number, "root", override_reason="because")
    assert isinstance(refused, Refused)
    assert refused.why is Why.INVALID
    assert callers(publisher) == {}
    assert isinstance(owned.approve(number, "root", override_reason="both owners are away, incident 12"), Published)
    actor, action, _, detail = audited(store)
    assert (actor, action, detail["override_review"]) == ("root", "proposal:approve", "both owners are away, incident 12")
    lacked = detail["lacked"]
    assert isinstance(lacked, dict)
    assert list(lacked.values()) == ["dora or emil, who own it"]


def test_files_do_not_go_around_the_owners(owned: Review, publisher: Publisher, store: SqlStore) -> None:
    text = """
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart, namespace: shop}
spec:
  rules:
  - from:
    - workload: shop/web
    ports: [7070]
"""
    reading = read_documents(text.encode(), "cart.yaml")
    documents: list[TrafficPolicy] = list(reading.documents)
    assert documents, reading.findings
    refused = owned.documents.apply(documents, "ana")
    assert isinstance(refused, Refused)
    assert (
        refused.reason
        == "shop/cart needs dora or emil, who own it; documents are applied by an owner, or by an admin with a reason"
    )
    assert callers(publisher) == {}
    assert isinstance(owned.documents.apply(documents, "dora"), Published)
    assert isinstance(owned.documents.apply([], "ana", prune=True), Refused)
    assert isinstance(owned.documents.apply([], "root", prune=True, override_review="cart is taken down, ticket 7"), Published)
    assert audited(store)[3]["override_review"] == "cart is taken down, ticket 7"
    strict = reviewing(store, publisher, Clock(), four_eyes=True)
    assert isinstance(strict.documents.apply(documents, "dora"), Refused)


def test_files_do_not_make_an_exception_last_without_the_owners(
    owned: Review, publisher: Publisher, store: SqlStore, clock: Clock
) -> None:
    rule = Rule(WEB, 7070)
    BreakGlass(store, publisher, clock).grant(CART_NAME, rule, 60, "the shop is down", "", "ana")
    documents = documents_of(Policy(0, {CART_NAME: ServicePolicy(CART_NAME, (rule,))}))
    assert isinstance(owned.documents.apply(documents, "ana"), Refused)
    assert len(store.grants(9, active=True)) == 1
    assert isinstance(owned.documents.apply(documents, "dora"), Published)


def test_while_the_file_cannot_be_read_nothing_is_agreed_to(store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    def unreadable() -> Owners:
        raise OwnersError("OWNERS: line 3: no")

    learn(store, CART_TO_DB)
    review = Review(store, publisher, clock, agreement=Agreement(store, clock, unreadable))
    refused = review.approve(proposed(review).number, "ana", override_reason="a very good reason")
    assert refused == Refused("nobody can say who has to agree: OWNERS: line 3: no", Why.CONFLICT)
    assert [row.lacks for row in standing(review)] == ["an owners file that can be read: OWNERS: line 3: no"]


def test_one_decision_reads_the_file_once(store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    """It may change between two rows, and a proposal may have thousands of them."""
    read: list[Owners] = []

    def owners() -> Owners:
        read.append(OWNERS)
        return OWNERS

    learn(store, WEB_TO_CART, CART_TO_DB)
    review = Review(store, publisher, clock, agreement=Agreement(store, clock, owners))
    assert isinstance(review.approve(proposed(review).number, "ana"), Agreed)
    assert len(read) == 1


def test_a_comment_stands_at_its_edge(owned: Review, store: SqlStore) -> None:
    """Also when more of the edge is asked for; each is in the audit log, and there are not without end."""
    number = proposed(owned).number
    assert isinstance(owned.agreement.comment(number, 1, " is this the canary? ", "dev"), Done)
    assert audited(store)[:3] == ("dev", "proposal:comment", str(number))
    learn(store, WEB_TO_CART._replace(path="/Cart/Empty"), CART_TO_DB)
    assert [c.text for row in standing(owned) for c in row.comments] == ["is this the canary?"]
    for row, text, why in ((9, "x", Why.INVALID), (1, "  ", Why.INVALID)):
        refused = owned.agreement.comment(number, row, text, "dev")
        assert isinstance(refused, Refused)
        assert refused.why is why
    for _ in range(MAX_COMMENTS - 1):
        assert isinstance(owned.agreement.comment(number, 1, "again", "dev"), Done)
    assert isinstance(owned.agreement.comment(number, 1, "again", "dev"), Refused)
    assert isinstance(owned.agreement.comment(99, 1, "x", "dev"), Refused)
