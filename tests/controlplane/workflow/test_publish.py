"""What is in force: read from a real store, compiled for those that exist, and told to those that it concerns."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from controlplane.identity.generations import fingerprint
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import dump_policy
from controlplane.policy.revise import revise, rule_sets
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule
from controlplane.store.sql import SqlStore
from controlplane.topology.model import Kind, ServiceName
from controlplane.workflow.publish import Change, CompileError, Publisher, load_active_policy, with_approved_hosts
from controlplane.xds import types
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.mesh import CART, DB, NOW_MS, TOPOLOGY, TRUST_DOMAIN, WEB

CART_NAME, DB_NAME = ServiceName("shop", "cart"), ServiceName("shop", "db")
BANK, ADDRESS = ServiceName("external", "bank.example"), ServiceName("external", "203.0.113.7")


def publish(store: SqlStore, publisher: Publisher, wanted: dict[ServiceName, Collection[Rule]]) -> Policy:
    """Put these rules into force beside those that are, as the next revision."""
    current = publisher.policy
    revised = revise(current, {**rule_sets(current), **wanted}, current.revision + 1)
    with store.transaction() as transaction:
        transaction.set_active_revision(transaction.add_revision("ana", "", dump_policy(revised), NOW_MS).number)
    return publisher.refresh()


def test_a_new_store_has_revision_0(store: SqlStore, publisher: Publisher) -> None:
    """Nothing is allowed by a rule, and everybody that exists has a snapshot."""
    assert load_active_policy(store, Mode.AUDIT) == Policy(0, {}, {}, Mode.AUDIT)
    assert publisher.snapshot(WEB) is not None
    assert publisher.snapshot(WorkloadId("shop", "new")) is None


def test_what_was_published_outlives_the_control_plane(store: SqlStore, publisher: Publisher) -> None:
    """Another one on the same store has the same in force, and compiles the same for everybody."""
    publish(store, publisher, {CART_NAME: [Rule(WEB, 7070)], BANK: [Rule(WEB, 443)]})
    with store.transaction() as transaction:
        transaction.set_mode(CART_NAME, Mode.ENFORCE, 1)
    publisher.refresh()
    again = Publisher(store, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)
    assert again.in_force == publisher.in_force
    for workload in (WEB, CART, DB):
        before, after = publisher.snapshot(workload), again.snapshot(workload)
        assert before is not None
        assert after is not None
        assert (before.version, before.revision) == (after.version, after.revision) == (before.version, 1)


def test_both_ends_of_a_new_edge_are_concerned_and_nobody_else(
    store: SqlStore, publisher: Publisher, changes: list[Change]
) -> None:
    """And what nobody is told of is the same as before: the third service's snapshot did not change."""
    before = {workload: publisher.snapshot(workload) for workload in (WEB, CART, DB)}
    with store.transaction() as transaction:
        for name in (CART_NAME, DB_NAME):
            transaction.set_mode(name, Mode.ENFORCE, 1)
    publisher.refresh()
    before = {workload: publisher.snapshot(workload) for workload in before}
    changes.clear()
    publish(store, publisher, {CART_NAME: [Rule(WEB, 7070)]})
    assert changes == [Change(1, frozenset({WEB, CART}), everyone=False)]
    for workload, old in before.items():
        new = publisher.snapshot(workload)
        assert old is not None
        assert new is not None
        assert (new.version != old.version) is (workload in changes[0].concerned), workload


def test_a_peer_without_identity_is_told_nothing(store: SqlStore, publisher: Publisher, changes: list[Change]) -> None:
    """A rule for a network concerns the service that it opens."""
    publish(store, publisher, {CART_NAME: [Rule(AddressSource("10.9.0.0/16"), 7070)]})
    assert changes == [Change(1, frozenset({CART}), everyone=False)]


def test_who_loses_an_edge_is_concerned(store: SqlStore, publisher: Publisher, changes: list[Change]) -> None:
    """The source that is taken off, as the service; not the source that stays."""
    publish(store, publisher, {DB_NAME: [Rule(CART, 3306), Rule(WEB, 3306)]})
    changes.clear()
    publish(store, publisher, {DB_NAME: [Rule(CART, 3306)]})
    assert changes == [Change(2, frozenset({DB, WEB}), everyone=False)]


def test_nothing_new_concerns_nobody(publisher: Publisher, changes: list[Change]) -> None:
    """Reading again is no push."""
    publisher.refresh()
    assert changes == [Change(0, frozenset(), everyone=False)]


def test_an_approved_host_exists_and_may_concern_everyone(store: SqlStore, publisher: Publisher, changes: list[Change]) -> None:
    """A name has HTTPS unless HTTP rules say otherwise, an address is plain TCP; the declared topology stays as it is."""
    publish(store, publisher, {BANK: [Rule(WEB, 443), Rule(WEB, 80, (HttpMatch("GET", "/"),))], ADDRESS: [Rule(CART, 5432)]})
    assert changes == [Change(1, frozenset({WEB, CART}), everyone=True)]
    bank, address = publisher.topology.services[BANK], publisher.topology.services[ADDRESS]
    assert (bank.kind, bank.addresses) == (Kind.EXTERNAL, ())
    assert [(port.number, port.protocol) for port in bank.ports] == [(80, "http"), (443, "https")]
    assert [(port.number, port.protocol) for port in address.ports] == [(5432, "tcp")]
    assert address.addresses == ("203.0.113.7",)
    assert publisher.declared == TOPOLOGY
    publish(store, publisher, {ADDRESS: [Rule(CART, 5432), Rule(CART, 8080, (HttpMatch("GET"),))]})
    ports = publisher.topology.services[ADDRESS].ports
    assert [(port.number, port.protocol) for port in ports] == [(5432, "tcp"), (8080, "auto")], "methods are looked at"
    publish(store, publisher, {BANK: [], ADDRESS: []})
    assert publisher.topology == TOPOLOGY


def test_without_approved_hosts_the_topology_is_the_same_object() -> None:
    """Its indexes are made already."""
    assert with_approved_hosts(TOPOLOGY, Policy()) is TOPOLOGY


def test_a_mistake_of_the_compiler_is_wrapped(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the revision that does not compile, and its cause."""

    def broken(*_: object) -> None:
        raise KeyError("listener")

    monkeypatch.setattr(publisher._compiler, "compile_snapshot", broken)
    with pytest.raises(CompileError, match="revision 0") as raised:
        publisher.snapshot(WEB)
    assert isinstance(raised.value.__cause__, KeyError)


def test_other_roots_change_secrets_alone_and_everybody_is_told(
    store: SqlStore, publisher: Publisher, changes: list[Change]
) -> None:
    """No listener and no cluster is built differently: nothing drains, and open connections stay."""
    publish(store, publisher, {CART_NAME: [Rule(WEB, 7070)]})
    before = publisher.snapshot(CART)
    publisher.trust(b"new roots")
    after = publisher.snapshot(CART)
    assert before is not None
    assert after is not None
    assert changes[-1].everyone
    assert after.bundle == fingerprint(b"new roots") != before.bundle
    differing = {kind for kind, found in after.sharing(before).resources.items() if found is not before.of_type(kind)}
    assert differing == {types.SECRET}
    assert all(b"new roots" in secret.delta_bytes for secret in after.of_type(types.SECRET).values())
