"""Break-glass on a real store: in force at once, back in time, audited, and never against a quarantine."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from controlplane.graph.proposal import load_proposal
from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import documents_of
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.store.sql import SqlStore
from controlplane.topology.model import Kind, ServiceName
from controlplane.workflow.breakglass import MAX_SECONDS, BreakGlass
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Published, Refused, Why
from tests.controlplane.workflow.conftest import Clock
from tests.controlplane.workflow.test_review import CART_NAME, WEB_TO_CART, callers, learn, proposed
from tests.harness.mesh import WEB

RULE = Rule(WEB, 7070)


@pytest.fixture
def breakglass(store: SqlStore, publisher: Publisher, clock: Clock) -> BreakGlass:
    return BreakGlass(store, publisher, clock)


def begin(breakglass: BreakGlass, rule: Rule = RULE, seconds: int = 60) -> int:
    done = breakglass.grant(CART_NAME, rule, seconds, "the shop is down", "OPS-1", "ana")
    assert not isinstance(done, Refused), done
    return done[0].id


def test_it_is_in_force_at_once_and_back_when_its_time_is_over(
    breakglass: BreakGlass, store: SqlStore, publisher: Publisher, clock: Clock, changes: list[Change]
) -> None:
    begin(breakglass)
    assert callers(publisher) == {CART_NAME: {"shop/web"}}
    assert changes[-1].concerned >= {WEB}
    clock.now_ms += 59_999
    assert breakglass.end_expired() == []
    clock.now_ms += 1
    assert [type(done) for done in breakglass.end_expired()] == [Published]
    assert callers(publisher) == {}
    assert publisher.policy.of(CART_NAME).revoked == {7070: 2}, "open connections are closed"
    (grant,) = store.grants(9, active=False)
    assert (grant.ended_ms, grant.ended_by) == (clock.now_ms, "picket")
    assert store.grants(9, active=True) == []
    assert [(event.actor, event.action) for event in store.audit(9)] == [
        ("picket", "break-glass:end"), ("ana", "break-glass:grant"),
    ]  # fmt: skip
    detail = msgspec.json.decode(store.audit(9)[1].detail)
    assert (detail["reason"], detail["ticket"], detail["seconds"], detail["revision"]) == ("the shop is down", "OPS-1", 60, 1)


def test_what_was_used_awaits_review_when_it_ends(breakglass: BreakGlass, store: SqlStore, review: Review, clock: Clock) -> None:
    number = begin(breakglass)
    learn(store, WEB_TO_CART)
    assert review.refresh_proposal() is None
    assert isinstance(breakglass.end(number, "bo"), Published)
    (stands,) = review.agreement.standing(load_proposal(proposed(review).document), "ana")
    assert [(said.actor, said.text) for said in stands.comments] == [("ana", f"break-glass {number}: the shop is down (OPS-1)")]


def test_what_nobody_used_awaits_review_too(breakglass: BreakGlass, store: SqlStore, publisher: Publisher, clock: Clock) -> None:
    """It is never chosen by itself; who was granted it asked for it, and whoever turns it down is not asked again."""
    review = Review(store, publisher, clock)
    begin(breakglass)
    clock.now_ms += 60_000
    breakglass.end_expired()
    assert review.refresh_proposal() is None, "reports of its last uses may be on their way"
    clock.now_ms += 60_000
    proposal = proposed(review)
    (row,) = load_proposal(proposal.document)
    assert row.edge.ends == ("shop/web", "shop/cart", 7070, "grpc")
    assert ([mark.reason for mark in row.marks], row.preselected) == (
        ["break-glass 1 allowed it for a time, and nobody used it"], False,
    )  # fmt: skip
    assert row.asked is not None
    assert (row.asked.by, row.asked.reason) == ("ana", "the shop is down")
    assert isinstance(review.reject(proposal.number, "bo", "not needed"), Done)
    assert review.refresh_proposal() is None


def test_none_becomes_lasting_by_others_of_the_same_edge(breakglass: BreakGlass, publisher: Publisher, review: Review) -> None:
    """One that opened a port whole goes back to what was approved, not to what another one allowed then."""
    get, post = (Rule(WEB, 7070, (HttpMatch("POST", path),)) for path in ("/Cart/Get", "/Cart/Empty"))
    first, whole = begin(breakglass, get), begin(breakglass)
    assert isinstance(breakglass.end(first, "bo"), Published)
    assert publisher.policy.of(CART_NAME).rules == (RULE,), "the other one is open"
    assert isinstance(breakglass.end(whole, "bo"), Published)
    assert callers(publisher) == {}
    first, whole = begin(breakglass, get), begin(breakglass)
    assert isinstance(breakglass.end(whole, "bo"), Published)
    assert publisher.policy.of(CART_NAME).rules == (get,)
    assert isinstance(breakglass.end(first, "bo"), Published)
    first, whole = begin(breakglass, get), begin(breakglass)
    assert isinstance(review.rollback(0, "ana"), Published)
    last = begin(breakglass, post)
    for number, left in ((whole, (post,)), (first, (post,)), (last, ())):
        assert isinstance(breakglass.end(number, "bo"), Published)
        assert tuple(publisher.policy.of(CART_NAME).rules) == left, "what was taken away meanwhile does not come back"


def written(*rules: Rule) -> tuple[TrafficPolicy, ...]:
    """A file that says just this of the cart."""
    return documents_of(Policy(0, {CART_NAME: ServicePolicy(CART_NAME, rules)}))


def test_what_a_file_holds_stays_when_the_exception_ends(
    breakglass: BreakGlass, store: SqlStore, publisher: Publisher, review: Review, clock: Clock
) -> None:
    """The file is somebody's word for good: the exception has done its part."""
    begin(breakglass)
    assert isinstance(review.documents.apply(written(RULE), "bo"), Published)
    assert store.grants(9, active=True) == []
    assert (store.grants(9, active=False)[0].ended_by, store.audit(1)[0].action) == ("bo", "policy:apply")
    clock.now_ms += 60_000
    assert breakglass.end_expired() == []
    assert callers(publisher) == {CART_NAME: {"shop/web"}}
    assert isinstance(review.documents.apply(written(RULE), "bo"), Done), "nothing differs any more"


def test_of_an_exception_that_allows_more_than_a_file_the_rest_ends_in_time(
    breakglass: BreakGlass, store: SqlStore, publisher: Publisher, review: Review, clock: Clock
) -> None:
    """Neither does what the file takes off come back by its end."""
    get, post = (Rule(WEB, 7070, (HttpMatch("POST", path),)) for path in ("/Cart/Get", "/Cart/Empty"))
    assert isinstance(review.documents.apply(written(get), "bo"), Published)
    begin(breakglass)
    (whole,) = store.grants(9, active=True)
    assert isinstance(review.documents.apply(written(post), "bo"), Published)
    (still,) = store.grants(9, active=True)
    assert (still.before, still.expires_ms, still.reason) == (post.http, whole.expires_ms, whole.reason)
    clock.now_ms += 60_000
    breakglass.end_expired()
    assert tuple(publisher.policy.of(CART_NAME).rules) == (post,)


def test_what_is_approved_while_an_exception_of_it_is_open_stays(
    breakglass: BreakGlass, publisher: Publisher, review: Review, store: SqlStore, clock: Clock
) -> None:
    """The exception opened the port whole; what was approved of it is what is left, and no stage can try it."""
    learn(store, WEB_TO_CART)
    number = proposed(review).number
    begin(breakglass)
    staged = review.approve(number, "ana", plan=Plan(50, 60, 1))
    assert isinstance(staged, Refused)
    assert "exception 1 lets all have an edge of shop/cart" in staged.reason
    assert isinstance(review.approve(number, "ana"), Published)
    assert callers(publisher) == {CART_NAME: {"shop/web"}}
    clock.now_ms += 60_000
    breakglass.end_expired()
    (rule,) = publisher.policy.of(CART_NAME).rules
    assert rule.http == (HttpMatch("POST", "/Cart/Add"),)


def test_what_a_rollback_took_away_does_not_come_back_with_the_end_of_an_exception(
    breakglass: BreakGlass, publisher: Publisher, review: Review, store: SqlStore, clock: Clock
) -> None:
    learn(store, WEB_TO_CART)
    assert isinstance(review.approve(proposed(review).number, "ana"), Published)
    begin(breakglass)
    assert isinstance(review.rollback(0, "ana"), Published)
    begin(breakglass, Rule(WEB, 7070, (HttpMatch("GET"),)))
    clock.now_ms += 60_000
    breakglass.end_expired()
    assert callers(publisher) == {}


def test_it_can_be_ended_once(breakglass: BreakGlass, store: SqlStore) -> None:
    number = begin(breakglass)
    assert isinstance(breakglass.end(number, "bo"), Published)
    for missing in (number, 99):
        again = breakglass.end(missing, "bo")
        assert isinstance(again, Refused)
        assert again.why is Why.MISSING
    assert store.grants(9, active=False)[0].ended_by == "bo"


def test_a_rollback_to_the_time_of_an_exception_does_not_bring_it_back(
    breakglass: BreakGlass, store: SqlStore, publisher: Publisher, review: Review, clock: Clock
) -> None:
    """For good it would be, and nobody had approved it."""
    learn(store, WEB_TO_CART)
    review.approve(proposed(review).number, "ana")
    number = begin(breakglass, Rule(WEB, 7070, (HttpMatch("GET"),)))
    (rule,) = publisher.policy.of(CART_NAME).rules
    assert rule.http == (HttpMatch("GET"), HttpMatch("POST", "/Cart/Add"))
    clock.now_ms += 1
    breakglass.end(number, "bo")
    assert isinstance(review.rollback(2, "bo"), Published)
    (rule,) = publisher.policy.of(CART_NAME).rules
    assert rule.http == (HttpMatch("POST", "/Cart/Add"),)


def test_another_control_plane_ends_what_ran_out_while_this_one_was_down(
    breakglass: BreakGlass, store: SqlStore, publisher: Publisher, clock: Clock
) -> None:
    begin(breakglass, Rule(WEB, 7070, (HttpMatch("GET"),)))
    clock.now_ms += 60_000
    again = BreakGlass(store, publisher, clock)
    assert len(again.end_expired()) == 1
    assert callers(publisher) == {}


@pytest.mark.parametrize(
    ("seconds", "reason", "why"), [(0, "x", Why.INVALID), (MAX_SECONDS + 1, "x", Why.INVALID), (60, " ", Why.INVALID)]
)
def test_what_is_no_exception_is_refused(breakglass: BreakGlass, store: SqlStore, seconds: int, reason: str, why: Why) -> None:
    refused = breakglass.grant(CART_NAME, RULE, seconds, reason, "", "ana")
    assert isinstance(refused, Refused)
    assert refused.why is why
    assert store.active_revision() == 0


def test_an_address_cannot_be_let_out_to_a_host_outside_where_no_sidecar_would_obey(
    breakglass: BreakGlass, store: SqlStore
) -> None:
    office = Rule(AddressSource("10.0.0.0/8"), 443)
    refused = breakglass.grant(ServiceName("external", "bank.example"), office, 60, "the bank moved", "", "ana")
    assert isinstance(refused, Refused)
    assert (refused.why, "name a workload" in refused.reason, store.revisions(9)) == (Why.INVALID, True, [])
    begin(breakglass, Rule(AddressSource("10.0.0.0/8"), 7070))


def test_what_is_allowed_needs_no_exception(breakglass: BreakGlass, store: SqlStore, review: Review) -> None:
    learn(store, WEB_TO_CART)
    review.approve(proposed(review).number, "ana")
    allowed = HttpMatch("POST", "/Cart/Add")
    more = Rule(WEB, 7070, (HttpMatch("GET"),))
    for rule, needed in ((Rule(WEB, 7070, (allowed,)), False), (more, True), (RULE, True), (RULE, False)):
        assert isinstance(breakglass.grant(CART_NAME, rule, 60, "x", "", "ana"), Refused) is not needed


def test_a_quarantined_service_stays_cut_off(breakglass: BreakGlass, review: Review) -> None:
    review.modes.change([CART_NAME], Mode.QUARANTINE, "ana")
    refused = breakglass.grant(CART_NAME, RULE, 60, "x", "", "ana")
    assert isinstance(refused, Refused)
    assert "quarantined" in refused.reason


async def test_the_background_ends_them(breakglass: BreakGlass, publisher: Publisher, clock: Clock) -> None:
    begin(breakglass)
    clock.now_ms += 60_000
    running = asyncio.create_task(breakglass.run())
    for _ in range(2_000):
        if not callers(publisher):
            break
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.wait({running})
    assert callers(publisher) == {}


def test_a_host_outside_that_nobody_declared_opens_and_closes(breakglass: BreakGlass, publisher: Publisher, clock: Clock) -> None:
    """Its cluster and chain are there while it is allowed, and gone with it."""
    bank = ServiceName("external", "bank.example")
    done = breakglass.grant(bank, Rule(WEB, 443), 60, "the bank moved", "", "ana")
    assert not isinstance(done, Refused), done
    assert publisher.topology.services[bank].kind is Kind.EXTERNAL
    assert callers(publisher) == {bank: {"shop/web"}}
    clock.now_ms += 60_000
    assert [type(ended) for ended in breakglass.end_expired()] == [Published]
    assert bank not in publisher.topology.services
    assert callers(publisher) == {}
