"""Asking for an edge on a real store: it awaits review, once, and nobody's no is overruled."""

from __future__ import annotations

import pytest

from controlplane.graph.proposal import load_proposal
from controlplane.graph.rows import ReviewRow
from controlplane.policy.asks import Ask
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.store.sql import SqlStore
from controlplane.workflow.asking import MAX_ASKS_EACH, Asking, Waiting
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused, Why
from tests.controlplane.workflow.test_review import CART_NAME, WEB_TO_CART, audited, callers, learn, proposed
from tests.harness.mesh import NOW_MS, WEB

RULE = Rule(WEB, 7070, (HttpMatch("POST", "/Cart/Empty"),))


@pytest.fixture
def asking(store: SqlStore, publisher: Publisher) -> Asking:
    return Asking(store, publisher, lambda: NOW_MS)


def ask(asking: Asking, rule: Rule = RULE, *, again: bool = False) -> Waiting | Done | Refused:
    return asking.ask(CART_NAME, rule, "grpc", "dev", "carts are emptied", "https://git.test/1", again=again)


def rows(review: Review) -> tuple[ReviewRow, ...]:
    return load_proposal(proposed(review).document)


def test_what_was_never_seen_awaits_review_and_is_approved_as_asked(
    asking: Asking, review: Review, store: SqlStore, publisher: Publisher
) -> None:
    assert isinstance(ask(asking), Waiting)
    assert audited(store)[:3] == ("dev", "edge:ask", "shop/web -> shop/cart:7070")
    (row,) = rows(review)
    assert row.asked is not None
    assert (row.edge.count, row.edge.http, row.asked.by, row.asked.link) == (0, RULE.http, "dev", "https://git.test/1")
    assert callers(publisher) == {}
    assert isinstance(review.approve(1, "ana", rows=[1]), Published)
    assert publisher.policy.of(CART_NAME).rules == (RULE,)
    assert store.asks(9) == []
    assert isinstance(ask(asking), Done)


def test_what_is_allowed_for_a_time_has_to_be_asked_for(asking: Asking, store: SqlStore, publisher: Publisher) -> None:
    exception = BreakGlass(store, publisher, lambda: NOW_MS).grant(CART_NAME, RULE, 60, "the shop is down", "", "rita")
    assert not isinstance(exception, Refused)
    assert isinstance(ask(asking), Waiting)


def test_the_same_again_is_the_same(asking: Asking, store: SqlStore) -> None:
    first = ask(asking)
    assert isinstance(first, Waiting)
    events = len(store.audit(99))
    assert ask(asking) == Waiting(first.ask, is_new=False)
    assert (len(store.asks(9)), len(store.audit(99))) == (1, events)


def test_what_was_seen_as_well_is_one_row(asking: Asking, review: Review, store: SqlStore) -> None:
    learn(store, WEB_TO_CART)
    (seen,) = rows(review)
    assert isinstance(ask(asking, Rule(WEB, 7070, seen.edge.http)), Waiting)
    (row,) = rows(review)
    assert row.edge == seen.edge
    assert row.asked is not None


def test_a_pipeline_does_not_overrule_a_person(asking: Asking, review: Review, store: SqlStore) -> None:
    ask(asking)
    assert isinstance(review.reject(proposed(review).number, "ana", "use the other one"), Done)
    assert store.asks(9) == []
    refused = ask(asking)
    assert isinstance(refused, Refused)
    assert refused == Refused("ana rejected it in proposal 1: use the other one", Why.CONFLICT)
    assert isinstance(ask(asking, Rule(WEB, 7070, (HttpMatch("POST", "/Cart/Other"),))), Waiting)
    assert isinstance(ask(asking, again=True), Waiting)
    assert len(rows(review)) == 2


def test_wishes_are_bounded(asking: Asking, store: SqlStore) -> None:
    with store.transaction() as transaction:
        for number in range(MAX_ASKS_EACH):
            transaction.add_ask(Ask(0, CART_NAME, Rule(WEB, number + 1), "tcp", "dev", "x", "", NOW_MS))
    refused = ask(asking)
    assert isinstance(refused, Refused)
    assert refused.why is Why.CONFLICT
    assert isinstance(asking.ask(CART_NAME, RULE, "grpc", "another", "x"), Waiting)


def test_a_decision_leaves_other_wishes_between_the_same_two(asking: Asking, review: Review, store: SqlStore) -> None:
    for name in ("Empty", "Fill", "Count"):
        assert isinstance(ask(asking, Rule(WEB, 7070, (HttpMatch("POST", f"/Cart/{name}"),))), Waiting)
    number = next(index for index, row in enumerate(rows(review), 1) if row.edge.http[0].path == "/Cart/Fill")
    assert isinstance(review.approve(1, "ana", rows=[number]), Published)
    assert {wish.rule.http[0].path for wish in store.asks(9)} == {"/Cart/Empty", "/Cart/Count"}
    number = next(index for index, row in enumerate(rows(review), 1) if row.edge.http[0].path == "/Cart/Empty")
    assert isinstance(review.reject(2, "ana", "no", [number]), Done)
    assert [row.edge.http[0].path for row in rows(review)] == ["/Cart/Count"]
