"""A database of an older version that is in use: all that stands in it is there after the upgrade, and more can be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.engine import make_url

from controlplane.flows.model import EdgeKey, Flow, HourlyFlow, Verdict
from controlplane.graph.evidence import HOUR_MS, Evidence
from controlplane.graph.packed import pack_evidence
from controlplane.policy.accounts import AccessToken, Account, Scope
from controlplane.policy.approvals import Comment
from controlplane.policy.audit import AuditEvent, Chain, Intact, link
from controlplane.policy.leases import EdgeLease
from controlplane.policy.proofs import Proof, Target
from controlplane.policy.roles import Role
from controlplane.policy.rollouts import Plan, Rollout
from controlplane.policy.rules import Mode
from controlplane.policy.traffic_policy import Lease
from controlplane.store import tables
from controlplane.store.schema import begin_write
from controlplane.store.sql import SqlStore, open_store
from controlplane.store.stored import SidecarRow, StoredProposal, StoredRevision, ViolationFilter
from controlplane.topology.model import ServiceName

#: The newest schema that a released version made, and an hour of its time.
RELEASED, HOUR = "0009", 480_000
T = HOUR * HOUR_MS + 5
CART, DB = ServiceName("shop", "cart"), ServiceName("shop", "db")
EDGE = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/items")
EVENT = AuditEvent(1, T, "ana", "proposal:approve", "1", "{}")


def violation(number: int, count: int, verdict: str, seen_ms: int) -> dict[str, Any]:
    return EDGE._asdict() | {
        "id": number, "fingerprint": bytes([number]) * 16, "opened_ms": seen_ms, "verdict": verdict, "reporter": "shop/cart",
        "direction": "in", "count": count, "first_seen_ms": seen_ms, "last_seen_ms": seen_ms, "host": "", "server_name": "",
        "peer_address": "10.0.0.1", "deny_id": "deny:shop/cart@r1", "reason": "",
    }  # fmt: skip


#: A row or more of each table that there was, in an order that foreign keys allow.
ROWS: dict[str, list[dict[str, Any]]] = {
    "edges": [EDGE._asdict() | {"key_hash": b"e" * 16, "count": 7, "first_seen_ms": T, "last_seen_ms": T + 1}],
    "evidence": [{"key_hash": b"e" * 16, "packed": pack_evidence(Evidence(7, T, T + 1))}],
    "watches": [],
    "history": [
        EDGE._asdict() | {"hour": HOUR, "key_hash": b"h" * 16, "verdict": "denied", "count": 3, "deny_id": "deny:shop/cart@r1"}
    ],
    "violations": [
        violation(1, 2**40, "denied", T), violation(2, 5, "denied", T + 1), violation(3, 1, "would-deny", T + HOUR_MS),
    ],
    "revisions": [{"number": 1, "created_ms": T, "author": "ana", "note": "n", "document": "{}"}],
    "active_revision": [{"singleton": 1, "number": 1}],
    "proposals": [
        {"number": 1, "created_ms": T, "status": "approved", "base_revision": 0, "document": "[]", "decided_ms": T,
         "decided_by": "ana", "comment": "", "revision": 1},
    ],
    "modes": [{"namespace": "shop", "name": "cart", "mode": "enforce"}],
    "sidecars": [
        {"workload": "shop/cart", "instance": "0", "connected": True, "connected_ms": T, "sent_version": "v", "acked_version": "v",
         "revision": 1, "nack_type": "", "nack_message": "", "nack_ms": None, "agent_version": "1", "envoy_version": "2",
         "capture": "redirect", "certificate_not_after_ms": T},
    ],
    "reports": [{"workload": "shop/cart", "instance": "0", "last_report_ms": T, "blind_since_ms": None, "lost": 0}],
    "epochs": [{"workload": "shop/cart", "instance": "0", "epoch": "a" * 32, "sequence": 4, "stored_ms": T}],
    "audit": [
        {"id": 1, "at_ms": T, "actor": "ana", "action": EVENT.action, "subject": "1", "detail": "{}", "hash": link("", EVENT)}
    ],
    "grants": [
        {"id": 1, "service": "shop/cart", "source": "shop/web", "port": 80, "http": "[]", "before": None, "reason": "fire",
         "ticket": "", "actor": "ana", "created_ms": T, "expires_ms": T + 1, "ended_ms": None, "ended_by": ""},
    ],
    "asks": [
        {"id": 1, "service": "shop/cart", "source": "shop/web", "port": 80, "http": "[]", "protocol": "http", "actor": "ana",
         "reason": "", "link": "", "created_ms": T, "closed_ms": None, "closed_by": ""},
    ],
    "leases": [
        {"service": "shop/cart", "source": "shop/web", "port": 80, "owner": "ana", "reason": "r", "ticket": "", "expires_ms": None,
         "actor": "ana", "set_ms": T},
    ],
    "rollouts": [
        {"id": 1, "service": "shop/db", "before": "audit", "share_percent": 10, "hold_seconds": 600, "max_denials": 3,
         "first": "0", "actor": "ana", "created_ms": T, "stage_ms": T, "stage": "one", "taken_ms": None, "status": "running",
         "reason": "", "ended_ms": None, "ended_by": ""},
    ],
    "join_tokens": [{"token_hash": "t" * 64, "workload": "shop/web", "created_ms": T, "expires_ms": T + 9, "used_ms": None}],
    "counters": [],
}  # fmt: skip
NUMBERS = {"violation": 3, "revision": 1, "proposal": 1, "audit": 1, "grant": 1, "ask": 1, "rollout": 1}


@pytest.fixture
def upgraded(url: str) -> Iterator[SqlStore]:
    """What an older version left, opened by this one."""
    driver = "postgresql+psycopg" if url.startswith("postgresql") else "sqlite"
    engine = create_engine(make_url(url).set(drivername=driver))
    config = Config()
    config.set_main_option("script_location", "controlplane.store:migrations")
    with engine.connect() as connection:
        begin_write(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, RELEASED)
        then = MetaData()
        then.reflect(connection)
        assert then.tables.keys() - {"alembic_version"} == ROWS.keys()
        for name, rows in ROWS.items():
            for row in rows:
                connection.execute(then.tables[name].insert().values(row))
        counters = then.tables["counters"]
        for name, number in NUMBERS.items():
            assert connection.execute(counters.update().where(counters.c.name == name).values(value=number)).rowcount == 1
        connection.commit()
    engine.dispose()
    store = open_store(url)
    yield store
    store.close()


def test_what_was_learned_and_refused_is_there(upgraded: SqlStore) -> None:
    """Violations are summed by the hour, as if this version had stored them."""
    assert upgraded.evidence() == {EDGE: Evidence(7, T, T + 1)}
    assert upgraded.history(0, 9) == [HourlyFlow(EDGE, Verdict.DENIED, HOUR, 3, "deny:shop/cart@r1")]
    found = upgraded.violation_page(ViolationFilter(), 9).violations
    assert [(each.id, each.count, each.probe) for each in found] == [(3, 1, 0), (2, 5, 0), (1, 2**40, 0)]
    assert upgraded.count_violations(ViolationFilter()).total == 2**40 + 6
    for table, key in ((tables.violation_hours, ("shop/web", "shop/cart", 80, "http")), (tables.violation_totals, (80, "http"))):
        names = [column.name for column in table.primary_key]
        columns = [table.c[name] for name in (*names, "count")]
        with upgraded._engine.connect() as connection:
            rows = {tuple(row) for row in connection.execute(select(*columns))}
        assert rows == {(HOUR, *key, "denied", 2**40 + 5), (HOUR + 1, *key, "would-deny", 1)}


def test_what_people_decided_is_there(upgraded: SqlStore) -> None:
    """The policy, its modes and exceptions, and the audit log, which is still a chain."""
    assert upgraded.revisions(9) == [StoredRevision(1, T, "ana", "n", "{}")]
    assert upgraded.active_revision() == 1
    assert upgraded.proposals(None, 9) == [StoredProposal(1, T, "approved", 0, "[]", T, "ana", "", 1)]
    assert upgraded.modes() == {CART: Mode.ENFORCE}
    assert [(change.service, change.mode) for change in upgraded.mode_changes()] == [(CART, Mode.ENFORCE)]
    assert upgraded.leases() == [EdgeLease(CART, "shop/web", 80, Lease("ana", "r"), "ana", T)]
    assert [grant.reason for grant in upgraded.grants(9, active=True)] == ["fire"]
    assert [ask.actor for ask in upgraded.asks(9)] == ["ana"]
    assert upgraded.rollouts(9, running=True) == [Rollout(1, DB, Mode.AUDIT, Plan(10, 600, 3), "0", "ana", T, T)]
    chain = Chain()
    chain.follow(upgraded.audit_after(0, 9))
    assert isinstance(chain.verdict(), Intact)


def test_sidecars_are_known_and_connected_to_nobody_yet(upgraded: SqlStore) -> None:
    """Batches that were stored are not stored again, and a token that was made lets in."""
    with upgraded.transaction() as transaction:
        transaction.beat("a", T, 0)
        assert not transaction.record_batch("shop/cart", "0", "a" * 32, 4, [], 0, T).stored
        assert transaction.record_batch("shop/cart", "0", "a" * 32, 5, [], 0, T + 1).gap == 0
        assert transaction.use_join_token("t" * 64, T) == "shop/web"
    (sidecar,) = upgraded.sidecars()
    assert sidecar == SidecarRow(
        "shop/cart", "0", connected_ms=T, sent_version="v", acked_version="v", revision=1, last_report_ms=T + 1,
        agent_version="1", envoy_version="2", capture="redirect", certificate_not_after_ms=T,
    )  # fmt: skip


def test_more_is_written_under_numbers_of_its_own(upgraded: SqlStore) -> None:
    """Also to the tables that are new."""
    flow = Flow(EDGE, Verdict.DENIED, "shop/cart", "in", 2, T + 9, T + 9, "", "", "10.0.0.1", "deny:shop/cart@r1", "")
    with upgraded.transaction() as transaction:
        receipt = transaction.record_batch("shop/cart", "0", "b" * 32, 1, [flow], 0, T + 9)
        assert transaction.add_revision("ben", "", "{}", T).number == 2
        assert transaction.add_comment(Comment(0, "shop/web -> shop/cart:80", "ben", "why", T)).id == 1
        assert transaction.add_account(Account("ann", Scope(Role.VIEWER), "", T, "owner"))
        token = transaction.add_access_token(AccessToken(0, "ann", "", Scope(Role.VIEWER), "c" * 64, T, "owner"))
        proof = transaction.add_proof(Proof(0, Target(CART, 80, "10.0.0.3"), 1, "picket", T))
        assert transaction.lock_incidents(0) == []
    assert [violation.id for violation in receipt.violations] == [4]
    assert token is not None
    assert proof is not None
    assert (token.id, proof.id) == (1, 1)
    assert upgraded.denials("shop/cart") == 2
