"""The open proposal: templates instead of paths, odd edges on top and never taken unseen."""

from __future__ import annotations

from uuid import uuid4

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.proposal import load_proposal
from controlplane.policy.rules import HttpMatch
from controlplane.store.sql import SqlStore
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Published, Refused, Why
from tests.harness.mesh import NOW_MS

USERS = EdgeKey("shop/web", "shop/cart", 8080, "http", "GET", "/users/7")
TO_DB = EdgeKey("ip:10.9.9.9", "shop/db", 3306, "mysql")


def learn(store: SqlStore, *edges: EdgeKey, count: int = 1) -> None:
    flows = [Flow(edge, Verdict.ALLOWED, edge.destination, "in", count, NOW_MS, NOW_MS, peer_address="10.0.0.1") for edge in edges]
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "0", uuid4().hex, 1, flows, 0, NOW_MS)


def rows(review: Review) -> list[tuple[str, tuple[HttpMatch, ...], bool]]:
    stored = review.refresh_proposal()
    assert stored is not None
    return [(row.edge.source, row.edge.http, row.preselected) for row in load_proposal(stored.document)]


def test_paths_are_proposed_as_templates(review: Review, store: SqlStore, publisher: Publisher) -> None:
    learn(store, USERS, USERS._replace(path="/users/8"), USERS._replace(path="/users"))
    http = (HttpMatch("GET", "/users"), HttpMatch("GET", "/users/{id}"))
    assert rows(review) == [("shop/web", http, True)]
    assert isinstance(review.approve(1, "ana"), Published)
    learn(store, USERS._replace(path="/users/9"))
    assert review.refresh_proposal() is None
    learn(store, USERS._replace(path="/admin"))
    assert rows(review) == [("shop/web", (HttpMatch("GET", "/admin"),), True)]


def test_who_has_no_identity_and_calls_a_database_is_looked_at_first(review: Review, store: SqlStore, publisher: Publisher) -> None:
    learn(store, USERS, TO_DB, count=50)
    assert [(source, preselected) for source, _, preselected in rows(review)] == [("ip:10.9.9.9", False), ("shop/web", True)]
    assert isinstance(review.approve(1, "ana"), Published)
    assert [str(rule.source) for listed in publisher.policy.services.values() for rule in listed.rules] == ["shop/web"]
    assert rows(review) == [("ip:10.9.9.9", (), False)]
    refused = review.approve(2, "ana")
    assert isinstance(refused, Refused)
    assert refused.why is Why.INVALID
    assert isinstance(review.approve(2, "ana", rows=[1]), Published)


def test_counts_make_no_new_proposal(review: Review, store: SqlStore) -> None:
    learn(store, USERS)
    first = review.refresh_proposal()
    learn(store, USERS, count=500)
    assert review.refresh_proposal() == first


def test_samples_tell_the_use_of_an_edge(review: Review, store: SqlStore) -> None:
    learn(store, USERS, USERS._replace(path="/users/8"), TO_DB)
    (edge,) = [edge for edge in review.learning.edges() if edge.source == "shop/web"]
    samples, roles = review.learning.samples([edge])
    found = samples[edge]
    assert (found.days, found.hours_of_week, found.replica_count, found.replicas) == (1, 1, 1, ("10.0.0.1",))
    assert [(w.method, w.path, w.reasons) for w in found.widened] == [
        ("GET", "/users/{id}", ("{id}: looks like an identifier; 2 different seen there, whatever follows, as 7, 8",)),
    ]
    assert roles.of("shop/web") == "shop/web"
