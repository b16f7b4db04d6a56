"""Leases on a real store: kept with what is approved, renewed, and a reason to take an edge away that people decide on."""

from __future__ import annotations

import datetime

import pytest

from controlplane.graph.evidence import DAY_MS
from controlplane.graph.proposal import load_proposal
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.leases import from_ms
from controlplane.policy.traffic_documents import documents_of, read_documents
from controlplane.policy.traffic_policy import Lease
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable
from controlplane.workflow.publish import Publisher
from controlplane.workflow.retention import Keep, Retention
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused, Why
from tests.controlplane.workflow.conftest import Clock
from tests.controlplane.workflow.test_review import CART_NAME, CART_TO_DB, WEB_TO_CART, audited, callers, learn, proposed
from tests.harness.mesh import NOW_MS


@pytest.fixture
def review(store: SqlStore, publisher: Publisher, clock: Clock) -> Review:
    return Review(store, publisher, clock)


def approve(review: Review, store: SqlStore, expires_ms: int | None = None) -> None:
    """Two edges are approved, with one lease."""
    learn(store, WEB_TO_CART, CART_TO_DB)
    lease = Lease("ana", "orders", "OPS-1", None if expires_ms is None else from_ms(expires_ms))
    assert isinstance(review.approve(proposed(review).number, "bo", lease=lease), Published)


def removals(review: Review) -> list[tuple[str, str, bool]]:
    """What is proposed to go."""
    rows = load_proposal(proposed(review).document)
    return [(row.edge.destination, row.removal, row.preselected) for row in rows if row.removal]


def test_what_is_approved_has_a_lease_and_a_last_use(review: Review, store: SqlStore) -> None:
    approve(review, store)
    cart, database = review.leases.held()
    assert (str(cart.service), str(database.service)) == ("shop/cart", "shop/db")
    assert cart.lease is not None
    assert (cart.lease.lease.owner, cart.lease.lease.ticket, cart.lease.actor, cart.since_ms) == ("ana", "OPS-1", "bo", NOW_MS)
    assert cart.last_used_ms == NOW_MS


async def test_the_last_use_is_known_when_the_uses_are_not_kept_any_more(review: Review, store: SqlStore, clock: Clock) -> None:
    approve(review, store)
    clock.now_ms += 400 * DAY_MS
    keep = Keep(violations_days=0, edges_days=365, sidecars_days=0, history_days=0)
    sweep = Retention(store, keep, lambda: clock.now_ms, lambda *_: None, review.leases.keep_last_uses)
    assert (await sweep.sweep())[Prunable.EDGES] == 2
    assert store.edges() == []
    assert [held.last_used_ms for held in review.leases.held()] == [NOW_MS, NOW_MS]


def test_a_comment_is_the_reason_where_no_lease_is_given(review: Review, store: SqlStore) -> None:
    learn(store, WEB_TO_CART)
    assert isinstance(review.approve(proposed(review).number, "bo", "as we agreed"), Published)
    (held,) = review.leases.held()
    assert held.lease is not None
    assert held.lease.lease == Lease(reason="as we agreed")


def test_a_lease_that_is_over_proposes_a_removal_that_is_never_taken_unseen(
    review: Review, store: SqlStore, publisher: Publisher, clock: Clock
) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    assert review.refresh_proposal() is None
    clock.now_ms += 3 * DAY_MS
    wanted = [(name, "its lease ended 2 days ago", False) for name in ("shop/cart", "shop/db")]
    assert removals(review) == wanted
    refused = review.approve(proposed(review).number, "ana")
    assert isinstance(refused, Refused)
    assert refused.why is Why.INVALID
    assert isinstance(review.approve(proposed(review).number, "ana", rows=[1]), Published)
    assert list(callers(publisher)) == [wanted_name for wanted_name in publisher.policy.services if str(wanted_name) == "shop/db"]
    assert removals(review) == wanted[1:]


def test_what_somebody_wants_to_keep_is_not_proposed_again_for_a_while(review: Review, store: SqlStore, clock: Clock) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    clock.now_ms += 2 * DAY_MS
    assert isinstance(review.reject(proposed(review).number, "ana", "still needed"), Done)
    assert review.refresh_proposal() is None
    clock.now_ms += 31 * DAY_MS
    assert len(removals(review)) == 2


def test_a_renewed_lease_takes_the_proposal_back(review: Review, store: SqlStore, clock: Clock) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    clock.now_ms += 2 * DAY_MS
    number = proposed(review).number
    lease = Lease("ana", "still needed", "OPS-2", from_ms(clock.now_ms + DAY_MS))
    assert isinstance(review.leases.renew(CART_NAME, "shop/web", 7070, lease, "cy"), Done)
    assert audited(store)[:3] == ("cy", "lease:renew", "shop/web -> shop/cart:7070")
    refused = review.approve(number, "ana", rows=[1])
    assert isinstance(refused, Refused), "it was decided on what is no longer so"
    assert [name for name, _, _ in removals(review)] == ["shop/db"]


@pytest.mark.parametrize(
    ("source", "port", "expires_ms", "why"),
    [("shop/web", 1, None, Why.MISSING), ("shop/db", 7070, None, Why.MISSING), ("shop/web", 7070, NOW_MS, Why.INVALID)],
)
def test_only_what_is_approved_has_a_lease_and_none_that_is_over(
    review: Review, store: SqlStore, source: str, port: int, expires_ms: int | None, why: Why
) -> None:
    approve(review, store)
    events = len(store.audit(100))
    lease = Lease(reason="x", expires=None if expires_ms is None else from_ms(expires_ms))
    refused = review.leases.renew(CART_NAME, source, port, lease, "cy")
    assert isinstance(refused, Refused)
    assert (refused.why, len(store.audit(100))) == (why, events)


def test_leases_outlive_what_reads_them(review: Review, store: SqlStore) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    (lease, _) = store.leases()
    assert lease.lease.expires == from_ms(NOW_MS + DAY_MS)
    assert lease.lease.expires.tzinfo is datetime.UTC
    assert WorkloadId("shop", "web") in {held.rule.source for held in review.leases.held()}


def test_a_comment_is_the_reason_of_a_lease_that_gives_none(review: Review, store: SqlStore) -> None:
    learn(store, WEB_TO_CART)
    assert isinstance(review.approve(proposed(review).number, "bo", "as we agreed", lease=Lease("ana")), Published)
    assert [held.lease for held in store.leases()] == [Lease("ana", "as we agreed")]


WRITTEN = """
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart, namespace: shop}
spec:
  rules:
  - {from: [{workload: shop/web}], ports: [7070], http: [{method: POST, path: /Cart/Add}], lease: LEASE}
"""
BARE = WRITTEN.replace(", lease: LEASE", "")
LEASED = WRITTEN.replace("LEASE", "{owner: ana, reason: orders, ticket: OPS-1}")


def applied(review: Review, text: str) -> Done | Published:
    outcome = review.documents.apply(read_documents(text.encode(), "cart.yaml").documents, "cy")
    assert not isinstance(outcome, Refused), outcome
    return outcome


def kept(store: SqlStore) -> dict[str, tuple[Lease, bool]]:
    return {str(lease.service): (lease.lease, lease.written) for lease in store.leases()}


def test_a_lease_that_is_taken_out_of_its_file_goes_and_others_stay(review: Review, store: SqlStore) -> None:
    """Also one that an approval set before the file said the same."""
    approve(review, store)
    both = Lease("ana", "orders", "OPS-1")
    assert applied(review, BARE) == Done("nothing differs from what is in force"), "no file ever said anything of it"
    assert kept(store) == {"shop/cart": (both, False), "shop/db": (both, False)}
    since = {lease.set_ms for lease in store.leases()}
    applied(review, LEASED)
    assert kept(store)["shop/cart"] == (both, True)
    assert {lease.set_ms for lease in store.leases()} == since
    assert applied(review, BARE) == Done("1 leases differ; no rule does")
    assert kept(store) == {"shop/cart": (Lease(), False), "shop/db": (both, False)}
    assert audited(store)[:2] == ("cy", "lease:apply")


def test_a_renewed_lease_is_not_the_files_any_more(review: Review, store: SqlStore) -> None:
    approve(review, store)
    applied(review, LEASED)
    assert isinstance(review.leases.renew(CART_NAME, "shop/web", 7070, Lease("bo"), "bo"), Done)
    applied(review, BARE)
    assert kept(store)["shop/cart"] == (Lease("bo"), False)
    applied(review, LEASED)
    assert kept(store)["shop/cart"] == (Lease("ana", "orders", "OPS-1"), True)


def test_an_edge_that_comes_back_by_a_file_does_not_take_up_its_old_lease(
    review: Review, store: SqlStore, publisher: Publisher, clock: Clock
) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    documents = documents_of(publisher.policy)
    clock.now_ms += 2 * DAY_MS
    assert isinstance(review.approve(proposed(review).number, "ana", rows=[1, 2]), Published)
    assert isinstance(review.documents.apply(documents, "bo"), Published)
    assert review.refresh_proposal() is None
    assert {held.since_ms for held in review.leases.held()} == {clock.now_ms}


def test_an_edge_that_allows_more_by_now_is_not_taken_away(review: Review, store: SqlStore, clock: Clock) -> None:
    approve(review, store, NOW_MS + DAY_MS)
    clock.now_ms += 2 * DAY_MS
    number = proposed(review).number
    learn(store, WEB_TO_CART._replace(path="/Cart/Empty"))
    row = next(n for n, found in enumerate(load_proposal(proposed(review).document), 1) if not found.removal)
    later = Lease(expires=from_ms(clock.now_ms - 1))
    assert isinstance(review.approve(proposed(review).number, "cy", rows=[row], lease=later), Published)
    refused = review.approve(number, "ana", rows=[1])
    assert isinstance(refused, Refused)
    assert refused.why is Why.CONFLICT
