"""Several persons who agree at once to what needs several: in the end it is in force, once, with all of them named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.workflow.agreement import Agreement
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.controlplane.workflow.test_review import CART_TO_DB, DB_NAME, WEB_TO_CART, callers, learn
from tests.harness.mesh import NOW_MS, TOPOLOGY, TRUST_DOMAIN


def of_another_control_plane(store: SqlStore) -> tuple[Review, Publisher]:
    publisher = Publisher(store, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)
    return Review(store, publisher, lambda: NOW_MS, agreement=Agreement(store, lambda: NOW_MS, four_eyes=True)), publisher


def test_two_who_agree_at_once_are_two(opened: Callable[[], SqlStore]) -> None:
    """Each at a control plane of their own; who comes last publishes, and whoever is too late is told."""
    reviews = [of_another_control_plane(opened()) for _ in range(2)]
    store = opened()
    learn(store, CART_TO_DB, WEB_TO_CART)
    stored = reviews[0][0].refresh_proposal()
    assert stored is not None
    start = threading.Barrier(2)

    def agree(which: int) -> object:
        start.wait(10)
        return reviews[which][0].approve(stored.number, ("ana", "ben")[which], rows=[1, 2])

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(agree, range(2)))
    for _, publisher in reviews:
        publisher.refresh()
        assert set(callers(publisher)) >= {DB_NAME}, outcomes
    assert store.active_revision() == 1
    (made,) = (event for event in store.audit(99) if event.action == "proposal:approve")
    (other,) = {"ana", "ben"} - {made.actor}
    assert msgspec.json.decode(made.detail)["agreed"] == {other: [1, 2]}
