"""What every store does, held against SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.flows.model import EdgeKey, Flow, LearnedEdge, Verdict
from controlplane.policy.approvals import Approval, Comment
from controlplane.policy.audit import Chain, Head, Intact
from controlplane.policy.leases import from_ms
from controlplane.policy.rules import Mode
from controlplane.policy.timeline import ModeSet
from controlplane.policy.traffic_policy import Lease
from controlplane.store import tables
from controlplane.store.engine import open_engine
from controlplane.store.interface import Store, StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import GAP_TOLD_MS, BatchReceipt, SidecarRow, ViolationFilter
from controlplane.topology.model import ServiceName

EPOCH = "a" * 32
EDGE = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/cart.Cart/Get")


def flow(verdict: Verdict = Verdict.ALLOWED, count: int = 1, seen_ms: int = 1_000, **others: object) -> Flow:
    """A flow to the cart, seen at one moment."""
    made = Flow(EDGE, verdict, "shop/cart", "in", count, seen_ms, seen_ms)
    return replace(made, **others)  # type: ignore[arg-type]  # the callers name fields of Flow


def denied(count: int = 1, seen_ms: int = 1_000, verdict: Verdict = Verdict.DENIED, **others: object) -> Flow:
    """A flow that was dropped, or would have been."""
    return flow(verdict, count, seen_ms, **{"deny_id": "deny:shop/cart@r1", "reason": "rbac", **others})


def record(
    store: Store, sequence: int, *flows: Flow, epoch: str = EPOCH, instance: str = "cart-0", lost: int = 0, now_ms: int = 5_000
) -> BatchReceipt:
    """Store one batch of the cart in a transaction of its own."""
    with store.transaction() as transaction:
        return transaction.record_batch("shop/cart", instance, epoch, sequence, flows, lost, now_ms)


def sidecar(store: Store, instance: str = "cart-0") -> SidecarRow:
    """The row of one of the cart's sidecars."""
    return next(row for row in store.sidecars() if row.instance == instance)


def test_allowed_flows_count_edges(store: SqlStore) -> None:
    """Flows of one edge add up over flows and batches, with the first and last time seen."""
    record(store, 1, flow(count=2, seen_ms=500), flow(count=3, seen_ms=900))
    record(store, 2, flow(count=5, seen_ms=100))
    assert store.edges() == [LearnedEdge(EDGE, 10, 100, 900)]


def test_count_zero_makes_and_touches_an_edge(store: SqlStore) -> None:
    """A still-open connection makes its edge known, and moves only its last use."""
    record(store, 1, flow(count=0, seen_ms=100))
    assert store.edges() == [LearnedEdge(EDGE, 0, 100, 100)]
    record(store, 2, flow(count=4, seen_ms=200), flow(count=0, seen_ms=900))
    assert store.edges() == [LearnedEdge(EDGE, 4, 100, 900)]


def test_edges_that_were_last_used_before_a_time_are_found(store: SqlStore) -> None:
    other = replace(flow(seen_ms=900), edge=EDGE._replace(port=1))
    record(store, 1, flow(seen_ms=100), flow(seen_ms=500), other)
    assert [edge.last_seen_ms for edge in store.edges(501)] == [500]
    assert store.edges(500) == []


def test_last_uses_of_approved_edges_are_kept_the_later_of_two(store: SqlStore) -> None:
    cart = ServiceName("shop", "cart")
    for used_ms in (5, 9, 7):
        with store.transaction() as transaction:
            transaction.keep_last_uses({(cart, "shop/web", 80): used_ms, (cart, "ip:10.0.0.0/8", 80): 1})
    assert store.last_uses() == {(cart, "shop/web", 80): 9, (cart, "ip:10.0.0.0/8", 80): 1}


def test_edges_are_ordered_by_key(store: SqlStore) -> None:
    """Edges come in the order of their keys, by code point and not by locale."""
    keys = [EDGE._replace(source=source) for source in ("shop/b", "Shop/c", "shop/_", "shop/a")]
    record(store, 1, *(flow(edge=key) for key in keys))
    assert [edge.key for edge in store.edges()] == sorted(keys)


def test_long_and_foreign_paths_are_kept(store: SqlStore) -> None:
    """The longest path that is let in, of wide characters that do not compress, makes an edge and a violation."""
    path = "/" + "".join(chr(0x4E00 + (index * 7919) % 20_000) for index in range(1023))
    edge = EDGE._replace(path=path)
    record(store, 1, flow(edge=edge), denied(edge=edge))
    assert store.edges()[0].key == edge
    assert store.violations(ViolationFilter(), 10)[0].edge == edge


@pytest.mark.parametrize("verdict", [Verdict.WOULD_DENY, Verdict.DENIED])
def test_refused_flows_make_violations_and_no_edges(store: SqlStore, verdict: Verdict) -> None:
    """What the allow-list does not hold is a violation; an edge comes only from an allowed flow."""
    receipt = record(store, 1, denied(3, 1_000, verdict, host="cart", server_name="cart.shop", peer_address="10.0.0.9"))
    assert store.edges() == []
    (stored,) = store.violations(ViolationFilter(), 10)
    assert receipt.violations == (stored,)
    assert (stored.id, stored.edge, stored.verdict, stored.count) == (1, EDGE, verdict, 3)
    assert (stored.host, stored.server_name, stored.peer_address) == ("cart", "cart.shop", "10.0.0.9")
    assert (stored.deny_id, stored.reason, stored.direction, stored.reporter) == ("deny:shop/cart@r1", "rbac", "in", "shop/cart")


def test_a_repeated_batch_is_only_acknowledged(store: SqlStore) -> None:
    """A batch that was stored before changes nothing but the time of the last report."""
    record(store, 1, flow(count=2), denied(2))
    again = record(store, 1, flow(count=2), denied(2), lost=7, now_ms=9_000)
    assert again == BatchReceipt(stored=False)
    assert [edge.count for edge in store.edges()] == [2]
    assert store.count_violations(ViolationFilter()).total == 2
    assert (sidecar(store).lost, sidecar(store).blind_since_ms, sidecar(store).last_report_ms) == (0, None, 9_000)


def test_a_repeated_batch_in_one_transaction_counts_once(store: SqlStore) -> None:
    """A sidecar that sends again before the commit is not counted twice."""
    with store.transaction() as transaction:
        receipts = [transaction.record_batch("shop/cart", "cart-0", EPOCH, 1, [flow()], 0, 1) for _ in range(3)]
    assert [receipt.stored for receipt in receipts] == [True, False, False]
    assert [edge.count for edge in store.edges()] == [1]


def test_instances_and_epochs_count_their_own_sequences(store: SqlStore) -> None:
    """Sequence 1 of another replica or of a new spool is another batch."""
    receipts = [record(store, 1, flow()), record(store, 1, flow(), instance="cart-1"), record(store, 1, flow(), epoch="b" * 32)]
    assert [(receipt.stored, receipt.gap) for receipt in receipts] == [(True, 0)] * 3
    assert record(store, 1, flow()).stored is False
    assert [edge.count for edge in store.edges()] == [3]


def test_a_gap_makes_blind(store: SqlStore) -> None:
    """Batches that never came are counted in the receipt, and the sidecar is blind from the first gap on."""
    record(store, 1, now_ms=1_000)
    assert sidecar(store).blind_since_ms is None
    assert record(store, 4, now_ms=2_000).gap == 2
    assert record(store, 9, now_ms=3_000).gap == 4
    assert (sidecar(store).blind_since_ms, sidecar(store).last_report_ms, sidecar(store).lost) == (2_000, 3_000, 0)


def test_what_goes_missing_after_a_whole_day_is_another_gap(store: SqlStore) -> None:
    """While more goes missing each day it is one gap; its end is known."""
    record(store, 3, now_ms=1_000)
    record(store, 5, now_ms=1_000 + GAP_TOLD_MS)
    record(store, 6, now_ms=2_000 + GAP_TOLD_MS)
    assert (sidecar(store).blind_since_ms, sidecar(store).gap_ms) == (1_000, 1_000 + GAP_TOLD_MS)
    record(store, 7, lost=1, now_ms=1_001 + 2 * GAP_TOLD_MS)
    assert (sidecar(store).blind_since_ms, sidecar(store).gap_ms) == (1_001 + 2 * GAP_TOLD_MS, 1_001 + 2 * GAP_TOLD_MS)


def test_a_gap_that_an_older_control_plane_wrote_has_no_end_and_goes_on(store: SqlStore, url: str) -> None:
    """While one is replaced by the other on one database, both write."""
    record(store, 3, now_ms=1_000)
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(tables.reports.update().values(gap_ms=None))
    engine.dispose()
    record(store, 5, now_ms=2_000)
    assert (sidecar(store).blind_since_ms, sidecar(store).gap_ms) == (1_000, 2_000)


def test_an_epoch_that_begins_late_has_a_gap(store: SqlStore) -> None:
    """Epochs begin at sequence 1; one that begins at 3 lost two batches."""
    assert record(store, 3).gap == 2
    assert sidecar(store).blind_since_ms == 5_000


def test_lost_lines_add_up_and_make_blind(store: SqlStore) -> None:
    """Lines that a sidecar could not keep are summed, and it is blind from the first of them on."""
    record(store, 1, lost=5, now_ms=1_000)
    record(store, 2, lost=0, now_ms=2_000)
    record(store, 3, lost=6, now_ms=3_000)
    assert (sidecar(store).lost, sidecar(store).blind_since_ms, sidecar(store).last_report_ms) == (11, 1_000, 3_000)


def test_a_batch_makes_the_sidecar_known(store: SqlStore) -> None:
    """A sidecar that reports before it connects has a row."""
    record(store, 1)
    assert sidecar(store) == SidecarRow("shop/cart", "cart-0", last_report_ms=5_000)


def test_saving_sidecars_leaves_what_telemetry_wrote(store: SqlStore) -> None:
    """The state of a stream is replaced; last report, blindness and losses stay."""
    record(store, 2, lost=3)
    rows = [
        SidecarRow("shop/web", "web-0", True, 1, "v1", "v1", 1, "LDS", "no", 9, 7, 7, 7, 7, "0.1", "1.40", "redirect", 99),
        SidecarRow("shop/cart", "cart-0", connected=True, sent_version="old"),
        SidecarRow("shop/cart", "cart-0", connected=True, connected_ms=4, sent_version="v2", revision=6),
    ]
    with store.transaction() as transaction:
        transaction.save_sidecars(rows)
    assert store.sidecars() == [
        replace(rows[2], last_report_ms=5_000, blind_since_ms=5_000, gap_ms=5_000, lost=3),
        replace(rows[0], last_report_ms=None, blind_since_ms=None, gap_ms=None, lost=0),
    ]


def test_huge_counts_do_not_overflow(store: SqlStore) -> None:
    """A sidecar that counts wrongly can neither stop its own reports nor turn a sum into a fraction."""
    for sequence in range(1, 4):
        record(store, sequence, flow(count=2**63), denied(2**63), lost=2**63)
    assert store.edges()[0].count == store.violations(ViolationFilter(), 1)[0].count == sidecar(store).lost == 3 * 2**40


def test_violations_add_up_within_their_window(store: SqlStore) -> None:
    """Repeats less than a window after the first add to its row; later ones begin the next, wherever the clock's minute ends."""
    first = record(store, 1, denied(1, 59_000)).violations[0]
    second = record(store, 2, denied(4, 61_000), denied(5, 118_999)).violations[0]
    third = record(store, 3, denied(7, 119_000)).violations[0]
    assert (first.id, second.id, third.id) == (1, 1, 2)
    assert (second.count, second.first_seen_ms, second.last_seen_ms) == (9, 61_000, 118_999)
    found = store.violations(ViolationFilter(), 10)
    assert [(v.id, v.count, v.first_seen_ms, v.last_seen_ms) for v in found] == [(2, 7, 119_000, 119_000), (1, 10, 59_000, 118_999)]


def test_late_violations_join_the_window_they_belong_to(store: SqlStore) -> None:
    """A sidecar that was away reports the past: a little earlier adds to the row, much earlier makes its own."""
    record(store, 1, denied(1, 200_000))
    record(store, 2, denied(1, 150_000), denied(1, 10_000))
    found = store.violations(ViolationFilter(), 10)
    assert [(v.count, v.first_seen_ms, v.last_seen_ms) for v in found] == [(2, 150_000, 200_000), (1, 10_000, 10_000)]


def test_batches_of_one_transaction_share_windows(store: SqlStore) -> None:
    """Violations add up over batches that are committed together; each receipt tells of its own batch alone."""
    with store.transaction() as transaction:
        one = transaction.record_batch("shop/cart", "cart-0", EPOCH, 1, [denied(2)], 0, 1)
        two = transaction.record_batch("shop/cart", "cart-1", EPOCH, 1, [denied(3, 2_000)], 0, 1)
    assert [(v.id, v.count) for v in one.violations + two.violations] == [(1, 2), (1, 3)]
    assert [(v.id, v.count) for v in store.violations(ViolationFilter(), 10)] == [(1, 5)]


def test_violation_of_count_zero_is_seen_once(store: SqlStore) -> None:
    """A violation exists with count 1 at least; a later zero moves only its last time."""
    record(store, 1, denied(0, 1_000))
    record(store, 2, denied(0, 2_000))
    (stored,) = store.violations(ViolationFilter(), 10)
    assert (stored.count, stored.first_seen_ms, stored.last_seen_ms) == (1, 1_000, 2_000)


@pytest.mark.parametrize(
    "other",
    [
        {"edge": EDGE._replace(path="/other")}, {"verdict": Verdict.WOULD_DENY}, {"reporter": "shop/web"}, {"direction": "out"},
        {"deny_id": "deny:shop/cart@r2"}, {"host": "h"}, {"server_name": "s"}, {"peer_address": "10.0.0.1"},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_violations_that_differ_have_rows_of_their_own(store: SqlStore, other: dict[str, object]) -> None:
    """Each part of what makes a violation one keeps rows apart; the reason does not."""
    changed = replace(denied(), **other)  # type: ignore[arg-type]  # the parameters name fields of Flow
    record(store, 1, denied(), changed, denied(reason="other words"))
    assert sorted(violation.count for violation in store.violations(ViolationFilter(), 10)) == [1, 2]


def test_many_violations_in_one_batch(store: SqlStore) -> None:
    """A batch with more kinds of violations than one query may name is stored and found again whole."""
    flows = [denied(1, 1_000, edge=EDGE._replace(path=f"/p{index}")) for index in range(1_300)]
    assert len(record(store, 1, *flows).violations) == 1_300
    record(store, 2, *flows)
    found = store.violations(ViolationFilter(), 5_000)
    assert len(found) == 1_300
    assert {violation.count for violation in found} == {2}


def test_violations_are_filtered(store: SqlStore) -> None:
    """Each field of the filter narrows what is read and what is counted."""
    web = EDGE._replace(source="shop/WEB", port=80, path="/a_b%c")
    record(store, 1, denied(2, 1_000), denied(3, 500_000, edge=web, verdict=Verdict.WOULD_DENY, host="Example.org"))
    wanted = [
        (ViolationFilter(), [2, 1]),
        (ViolationFilter(since_ms=500_000), [2]),
        (ViolationFilter(since_ms=500_001), []),
        (ViolationFilter(source="shop/WEB"), [2]),
        (ViolationFilter(destination="shop/cart"), [2, 1]),
        (ViolationFilter(destination="shop/ca"), []),
        (ViolationFilter(verdict=Verdict.DENIED), [1]),
        (ViolationFilter(port=80), [2]),
        (ViolationFilter(text="example.ORG"), [2]),
        (ViolationFilter(text="a_b%c"), [2]),
        (ViolationFilter(text="a%c"), []),
        (ViolationFilter(text="cart@r1", port=7070), [1]),
        (ViolationFilter(after_id=1), [2]),
        (ViolationFilter(after_id=2**70, since_ms=2**70), []),
    ]
    for narrowed, ids in wanted:
        assert [violation.id for violation in store.violations(narrowed, 10)] == ids, narrowed
        assert store.count_violations(narrowed).total == sum({1: 2, 2: 3}[number] for number in ids), narrowed


def test_violations_after_an_id_come_in_the_order_of_ids(store: SqlStore) -> None:
    """A follower reads on from the last id; everybody else sees the newest first; both at most as many as asked for."""
    for sequence, seen_ms in enumerate((900_000, 100_000, 500_000, 700_000), 1):
        record(store, sequence, denied(1, seen_ms))
    assert [violation.id for violation in store.violations(ViolationFilter(after_id=1), 2)] == [2, 3]
    assert [violation.id for violation in store.violations(ViolationFilter(), 3)] == [1, 4, 3]
    assert store.violations(ViolationFilter(), -1) == []


def test_revisions_count_from_one(store: SqlStore) -> None:
    """Revisions are appended, read newest first, and one of them is in force."""
    assert (store.active_revision(), store.revisions(10), store.revision(1)) == (0, [], None)
    with store.transaction() as transaction:
        first = transaction.add_revision("ana", "one", '{"a":1}', 10)
        second = transaction.add_revision("bob", "two", '{"ä":2}', 20)
        transaction.set_active_revision(first.number)
    assert (first.number, second.number) == (1, 2)
    assert store.revisions(10) == [second, first]
    assert store.revisions(1) == [second]
    assert store.revision(2) == second
    assert store.revision(2**70) is store.revision(-1) is None
    assert store.active_revision() == 1


def test_only_a_stored_revision_can_be_in_force(store: SqlStore) -> None:
    """A number without a revision is refused, and what was in force stays."""
    with pytest.raises(StoreError, match="revision 7 cannot be put in force"), store.transaction() as transaction:
        transaction.set_active_revision(7)
    assert store.active_revision() == 0


def test_proposals_are_decided_once(store: SqlStore) -> None:
    """An open proposal can be closed; a closed or unknown one cannot."""
    with store.transaction() as transaction:
        proposal = transaction.add_proposal(3, "{}", 10)
        other = transaction.add_proposal(3, "[]", 11)
        assert transaction.decide_proposal(proposal.number, "approved", "ana", "fine", 4, 12)
        assert not transaction.decide_proposal(proposal.number, "rejected", "bob", "no", None, 13)
        assert not transaction.decide_proposal(99, "rejected", "bob", "no", None, 13)
        assert not transaction.decide_proposal(2**70, "rejected", "bob", "no", None, 13)
    closed = replace(proposal, status="approved", decided_ms=12, decided_by="ana", comment="fine", revision=4)
    assert store.proposals(None, 10) == [other, closed]
    assert store.proposals("open", 10) == [other]
    assert store.proposal(1) == closed
    assert store.proposal(3) is store.proposal(2**70) is None


def test_modes_are_kept_per_service(store: SqlStore) -> None:
    """Setting a mode again replaces it."""
    with store.transaction() as transaction:
        transaction.set_mode(ServiceName("shop", "cart"), Mode.AUDIT, 1)
        transaction.set_mode(ServiceName("shop", "web"), Mode.LEARN, 1)
        transaction.set_mode(ServiceName("shop", "cart"), Mode.ENFORCE, 1)
    assert store.modes() == {ServiceName("shop", "cart"): Mode.ENFORCE, ServiceName("shop", "web"): Mode.LEARN}


def test_sidecars_that_say_which_image_they_stand_beside_are_found(store: SqlStore) -> None:
    """Also when a report was there before; those that say nothing are left out."""
    record(store, 1)
    said = SidecarRow("shop/cart", "cart-0", connected=True, image_digest="sha256:1", address="10.0.0.2")
    with store.transaction() as transaction:
        transaction.save_sidecars([said, SidecarRow("shop/web", "web-0")])
    assert store.images() == [said]
    assert (sidecar(store).image_digest, sidecar(store).address) == ("sha256:1", "10.0.0.2")


def test_denials_are_counted_as_they_come_and_once(store: SqlStore) -> None:
    """Of the sidecars of the workload that reports them, whatever their times; imports are nobody's."""
    record(store, 1, denied(3), flow(), denied(2, seen_ms=1))
    record(store, 1, denied(3))
    record(store, 1, denied(4), instance="cart-1")
    record(store, 1, denied(5), instance="")
    assert (store.denials("shop/cart"), store.denials("shop/web")) == (9, 0)


def test_since_when_a_mode_holds_is_kept(store: SqlStore) -> None:
    """Every change of a mode stays, in the order of time; of two at one moment the last."""
    cart = ServiceName("shop", "cart")
    with store.transaction() as transaction:
        transaction.set_mode(cart, Mode.AUDIT, 7)
        transaction.set_mode(cart, Mode.LEARN, 9)
        transaction.set_mode(cart, Mode.ENFORCE, 9)
        transaction.note_default_mode(Mode.LEARN, 5)
    assert store.mode_changes() == [ModeSet(5, None, Mode.LEARN), ModeSet(7, cart, Mode.AUDIT), ModeSet(9, cart, Mode.ENFORCE)]


def test_approvals_are_kept_until_they_are_dropped(store: SqlStore) -> None:
    """One that is given again is new again; thousands of questions are asked for at once."""
    lease = Lease("team-web", "needed", "OPS-7", from_ms(86_400_000))
    first, again = Approval("q1", "ana", 1_000, lease), Approval("q1", "ana", 3_000)
    with store.transaction() as transaction:
        transaction.add_approvals([first, Approval("q1", "ben", 2_000), Approval("q2", "ana", 1_000)])
    assert store.approvals(["q1"], 0) == [first, Approval("q1", "ben", 2_000)]
    with store.transaction() as transaction:
        transaction.add_approvals([again])
    assert store.approvals(["q1", *(f"q{number}" for number in range(5_000))], 2_000) == [Approval("q1", "ben", 2_000), again]
    with store.transaction() as transaction:
        transaction.drop_approvals(["q1", *(f"no{number}" for number in range(5_000))])
    assert store.approvals(["q1", "q2"], 0) == [Approval("q2", "ana", 1_000)]
    with store.transaction() as transaction:
        transaction.add_approvals([Approval("q2", "ben", 1_000)])
        transaction.drop_approvals_by("ana")
    assert [approval.actor for approval in store.approvals(["q2"], 0)] == ["ben"]


def test_comments_stand_at_their_edges_in_order(store: SqlStore) -> None:
    with store.transaction() as transaction:
        for edge, text in (("a -> b:1", "first"), ("a -> c:1", "other"), ("a -> b:1", "second")):
            transaction.add_comment(Comment(0, edge, "ana", text, 1_000))
    assert [(said.id, said.text) for said in store.comments(["a -> b:1", "none"])] == [(1, "first"), (3, "second")]


def test_audit_events_are_a_chain_that_is_read_in_pieces(store: SqlStore) -> None:
    for number in range(5):
        with store.transaction() as transaction:
            transaction.add_audit("ana", "a", str(number), '{"n": 1, "words": ["\u00e9", null]}', number)
            transaction.add_audit("bo", "b", str(number), "", number)
    first = store.audit_after(0, 7)
    rest = store.audit_after(first[-1].id, 7)
    assert [event.id for event in (*first, *rest)] == list(range(1, 11))
    assert store.audit_after(rest[-1].id, 7) == []
    chain = Chain()
    chain.follow([*first, *rest])
    assert chain.verdict() == Intact(10, Head(10, rest[-1].hash))


def test_audit_events_are_read_newest_first(store: SqlStore) -> None:
    """Audit events are numbered as they come."""
    with store.transaction() as transaction:
        first = transaction.add_audit("ana", "proposal:approve", "1", "{}", 10)
        second = transaction.add_audit("ana", "service:mode", "shop/cart", "{}", 9)
    assert (first.id, second.id) == (1, 2)
    assert store.audit(10) == [second, first]
    assert store.audit(1) == [second]


def test_join_tokens_are_used_once(store: SqlStore) -> None:
    """A token admits its workload once, before it expires."""
    with store.transaction() as transaction:
        transaction.add_join_token("hash-1", "shop/cart", 100, 1)
        transaction.add_join_token("hash-2", "shop/web", 100, 1)
    with store.transaction() as transaction:
        assert transaction.use_join_token("unknown", 50) is None
        assert transaction.use_join_token("hash-1", 99) == "shop/cart"
        assert transaction.use_join_token("hash-1", 99) is None
        assert transaction.use_join_token("hash-2", 100) is None


def test_an_exception_undoes_everything(store: SqlStore) -> None:
    """Leaving a transaction by an exception undoes all of it, numbers included, and the exception comes out as it was."""
    with pytest.raises(KeyError), store.transaction() as transaction:  # noqa: PT012  # what is undone has to be written inside
        transaction.record_batch("shop/cart", "cart-0", EPOCH, 1, [flow(), denied()], 4, 1)
        transaction.add_revision("ana", "", "{}", 1)
        transaction.set_active_revision(1)
        transaction.add_proposal(1, "{}", 1)
        transaction.set_mode(ServiceName("shop", "cart"), Mode.ENFORCE, 1)
        transaction.add_audit("ana", "a", "b", "{}", 1)
        transaction.add_join_token("h", "shop/cart", 9, 1)
        transaction.save_sidecars([SidecarRow("shop/cart", "cart-0")])
        raise KeyError("changed my mind")
    assert not any((store.edges(), store.violations(ViolationFilter(), 9), store.revisions(9), store.proposals(None, 9)))
    assert not any((store.active_revision(), store.modes(), store.audit(9), store.sidecars()))
    assert record(store, 1, denied()).violations[0].id == 1
    with store.transaction() as transaction:
        assert transaction.use_join_token("h", 2) is None
        assert transaction.add_revision("ana", "", "{}", 1).number == 1


def test_nothing_is_seen_before_the_commit(store: SqlStore) -> None:
    """A reader beside an open transaction sees what was committed before it."""
    with store.transaction() as transaction:
        transaction.add_revision("ana", "", "{}", 1)
        transaction.record_batch("shop/cart", "cart-0", EPOCH, 1, [flow()], 0, 1)
        assert (store.revisions(9), store.edges()) == ([], [])
    assert (len(store.revisions(9)), len(store.edges())) == (1, 1)


def test_a_second_token_of_the_same_hash_is_refused(store: SqlStore) -> None:
    """What the database refuses comes out as a StoreError with the vendor's error as its cause."""
    with store.transaction() as transaction:
        transaction.add_join_token("hash", "shop/cart", 100, 1)
    with pytest.raises(StoreError, match="refused a write") as caught, store.transaction() as transaction:
        transaction.add_join_token("hash", "shop/web", 100, 1)
    assert caught.value.__cause__ is not None


def test_everything_is_there_after_opening_again(opened: Callable[[], SqlStore]) -> None:
    """A control plane that restarts finds what it stored."""
    before = opened()
    record(before, 1, flow(), denied())
    before.close()
    after = opened()
    after.ping()
    assert record(after, 1, flow()).stored is False
    assert (len(after.edges()), len(after.violations(ViolationFilter(), 9)), len(after.sidecars())) == (1, 1, 1)
