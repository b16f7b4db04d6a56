"""Two control planes that begin a rollout of one service at the same moment: one of them does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg

from controlplane.policy.rollouts import Rollout
from controlplane.policy.rules import Mode
from controlplane.store.sql import open_store
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Refused
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.controlplane.workflow.test_rollouts import NAME, PLAN, World
from tests.harness.mesh import NOW_MS, TOPOLOGY, TRUST_DOMAIN

BEGUN = Rollout(0, NAME, Mode.LEARN, PLAN, "a", "ben", NOW_MS, NOW_MS)
WAIT_SECONDS = 20.0


def until_somebody_waits(url: str) -> None:
    """Somebody wants what another transaction has."""
    deadline = time.monotonic() + WAIT_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
            assert time.monotonic() < deadline, "nobody waits"


def test_who_comes_second_is_told(postgresql_url: str) -> None:
    """It had looked before the first one was there to be seen."""
    ours, theirs = open_store(postgresql_url), open_store(postgresql_url)
    try:
        publisher = Publisher(theirs, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)
        driver = World(theirs, publisher).driver
        with ThreadPoolExecutor(1) as threads:
            with ours.transaction() as transaction:
                first = transaction.add_rollout(BEGUN)
                second = threads.submit(driver.start, [NAME], PLAN, "ana", "at last")
                until_somebody_waits(postgresql_url)
            assert isinstance(second.result(WAIT_SECONDS), Refused)
        assert theirs.rollouts(9, running=True) == [replace(BEGUN, id=first.id)]
    finally:
        ours.close()
        theirs.close()
