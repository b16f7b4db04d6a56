"""Uses by the hour: counted once, kept over a restart, and removed when out of date; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable

HOUR_MS = 3_600_000
EDGE = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/items/7")


def report(store: SqlStore, sequence: int, *flows: Flow, now_ms: int = 0) -> None:
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "cart-0", "a" * 32, sequence, flows, 0, now_ms or sequence * 61_000)


def flow(
    verdict: Verdict = Verdict.ALLOWED,
    hour: int = 5,
    path: str = "/items/7",
    deny_id: str = "",
    direction: str = "in",
    reason: str = "",
) -> Flow:
    at_ms = hour * HOUR_MS + 9
    return Flow(EDGE._replace(path=path), verdict, "shop/cart", direction, 2, at_ms, at_ms, deny_id=deny_id, reason=reason)


def test_uses_of_an_hour_add_up_over_batches_and_stores(opened: Callable[[], SqlStore]) -> None:
    first = opened()
    for sequence in (1, 2, 3):
        report(first, sequence, flow(), flow(path="/items/8"))
    report(first, 3, flow())  # it came before
    report(first, 4, flow(hour=6))
    first.close()
    found = opened().history(0, 10)
    assert [(one.hour, one.count, one.edge.path) for one in found] == [(6, 2, "/items/7"), (5, 12, "/items/7")]
    assert [one.hour for one in opened().history(6, 10)] == [6]


def test_a_use_that_passed_and_was_reported_counts_once(store: SqlStore) -> None:
    report(store, 1, flow(), flow(Verdict.WOULD_DENY, deny_id="deny:shop/cart@r1"))
    assert [(one.verdict, one.count, one.deny_id) for one in store.history(0, 10)] == [(Verdict.WOULD_DENY, 2, "deny:shop/cart@r1")]


def test_the_path_of_a_use_that_was_reported_is_none_of_those_that_passed(store: SqlStore) -> None:
    report(store, 1, flow(), flow(Verdict.WOULD_DENY), flow(path="/items/8"))
    assert {(one.verdict, one.edge.path) for one in store.history(0, 10)} == {
        (Verdict.WOULD_DENY, "/items/7"), (Verdict.ALLOWED, "/items/8"),
    }  # fmt: skip


def test_whose_sidecar_told_is_kept_apart(store: SqlStore) -> None:
    report(
        store,
        1,
        flow(Verdict.DENIED, deny_id="deny:shop/cart@r1"),
        flow(Verdict.DENIED, direction="out", deny_id="deny:a/b@r1/egress"),
    )
    with store.transaction() as transaction:
        transaction.record_batch("import:log", "", "b" * 32, 1, [flow(Verdict.DENIED)], 0, 61_000)
    found = {one.direction: one.deny_id for one in store.history(0, 10)}
    assert found == {"in": "deny:shop/cart@r1", "out": "deny:a/b@r1/egress", "": ""}


def test_what_envoy_refuses_by_itself_has_the_name_of_no_list(store: SqlStore) -> None:
    report(store, 1, flow(Verdict.DENIED, deny_id="deny:shop/cart@r1", reason="upgrade_failed"))
    assert [one.deny_id for one in store.history(0, 10)] == [""]


def test_uses_are_written_once_a_minute_also_after_the_clock_was_set_back(opened: Callable[[], SqlStore]) -> None:
    """A day ahead, then right: what waits must not wait for that day."""
    first, tomorrow = opened(), 30 * HOUR_MS
    for sequence, now_ms in enumerate((tomorrow, 6 * HOUR_MS, 6 * HOUR_MS + 61_000), 1):
        report(first, sequence, flow(), now_ms=now_ms)
    assert [one.count for one in opened().history(0, 10)] == [4], "the last is not due yet"


def test_hours_before_the_bound_are_removed(store: SqlStore) -> None:
    report(store, 1, flow(hour=5), flow(hour=6))
    store.history(0, 10)
    assert store.prune(Prunable.HISTORY, 6 * HOUR_MS, 10) == 1
    assert [one.hour for one in store.history(0, 10)] == [6]
