"""Pages of the violation log with 10,000,000 violations of a month, on SQLite and PostgreSQL: from the query line to the HTML.

Rows are made by the database itself, indices after them. Queries are of every kind, also for what is not there or hardly ever; the
raw limit is the same page without a query. Where PostgreSQL is not installed its figure is left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import Engine, create_engine, text

from controlplane.graph.evidence import HOUR_MS
from controlplane.store import tables
from controlplane.store.sql import open_store
from controlplane.web.app import create_console
from controlplane.web.sessions import Sessions
from tests.bench.measurement import Measurement, median, percentile
from tests.controlplane.web.browsing import sign_in
from tests.harness.plane import TOKEN, Plane, plane
from tests.harness.postgresql import binaries, running_cluster

ROWS = 10_000_000
NOW_MS = 1_780_000_000_000
SPAN_MS = 30 * 24 * HOUR_MS
REPEATS = 5
#: `{n}` is another number each time.
LINES = (
    "", "from:bench/caller-{n}", "to:bench/service-{n}", "from:bench/caller-{n} to:bench/service-{n}", "verdict:would-deny",
    "verdict:denied since:24h", "port:5432", "port:9999", "protocol:tcp since:7d until:5d", "method:POST", "path:/items/{n}",
    "path:/items/*", "path:/nowhere", "host:service-{n}.bench", "sni:db-{n}.bench", "peer:10.0.0.{n}", "deny:bench/service-{n}@r3",
    "revision:3", "revision:999", '"items/{n}"', '"never seen"', "from:bench/*{n} verdict:denied -path:/items/1",
    "to:bench/service-1{n},bench/service-2{n} verdict:would-deny since:48h", "from:nobody/there",
    "reporter:bench/service-{n} port:443",
)  # fmt: skip


def run() -> list[Measurement]:
    """Measure."""
    found = []
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        file = Path(directory) / "picket.db"
        found.append(_measure(f"sqlite:///{file}", "SQLite", 200, file))
    programs = binaries()
    if programs is not None:
        with running_cluster(programs) as cluster:
            cluster.execute("CREATE DATABASE bench")
            found.append(_measure(cluster.url("bench"), "PostgreSQL", 100))
    return found


def _measure(url: str, name: str, goal_ms: float, file: Path | None = None) -> Measurement:
    started = time.perf_counter()
    fill(url, ROWS)
    filled_seconds = time.perf_counter() - started
    if file is not None:
        _read_through(file)
    took: dict[str, list[float]] = {}
    with plane(url=url) as made, _browser(made) as browser:
        for line in LINES:
            for number in range(REPEATS + 1):
                begun = time.perf_counter()
                answer = browser.get("/blocked", query_string={"q": line.replace("{n}", str(7 * number + 3))})
                seconds = time.perf_counter() - begun
                if answer.status_code != 200:
                    raise RuntimeError(f"{line}: {answer.status}")
                if number:  # the first compiles the statement
                    took.setdefault(line, []).append(seconds * 1_000)
    slowest = max(LINES[1:], key=lambda line: median(took[line]))
    filtered = [one for line in LINES[1:] for one in took[line]]
    return Measurement(
        f"filtered page of {ROWS:,} violations, {name}, p95", percentile(filtered, 0.95), "ms", goal_ms, raw=median(took[""]),
        detail={
            "p50 ms": median(filtered), "slowest": slowest, "its p50 ms": median(took[slowest]),
            "rows made a second": ROWS / filled_seconds,
        },
    )  # fmt: skip


def _read_through(file: Path) -> None:
    """Have the system keep the file in memory, as it keeps one that is in use."""
    with file.open("rb") as opened:
        while opened.read(2**24):
            pass


@contextmanager
def _browser(made: Plane) -> Iterator[FlaskClient]:
    """A browser whose owner is signed in."""
    made.now_ms = NOW_MS
    client = create_console(made.services(), Sessions(made.store, lambda: made.now_ms)).test_client()
    client.environ_base |= {"HTTP_HOST": "localhost"}
    sign_in(client, TOKEN)
    yield client


def fill(url: str, rows: int) -> None:
    """Make so many violations, evenly over the span; 2,000 pairs, one in 50 not dropped, one in 100,000 at port 9999."""
    open_store(url).close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        _fill(engine, rows)
    finally:
        engine.dispose()


def _fill(engine: Engine, rows: int) -> None:
    postgres = engine.dialect.name == "postgresql"
    series = f"generate_series(1, {rows})" if postgres else "series"
    begin = "" if postgres else f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows}) "
    digest = "decode(lpad(to_hex(n), 32, '0'), 'hex')" if postgres else "CAST(n AS BLOB)"
    at = f"{NOW_MS - SPAN_MS} + n * {SPAN_MS}::bigint / {rows}" if postgres else f"{NOW_MS - SPAN_MS} + n * {SPAN_MS} / {rows}"
    insert = f"""
        INSERT INTO violations (id, fingerprint, opened_ms, source, destination, port, protocol, method, path, verdict, reporter,
            direction, count, first_seen_ms, last_seen_ms, host, server_name, peer_address, deny_id, reason)
        {begin}SELECT n, {digest}, {at}, 'bench/caller-' || (n % 499), 'bench/service-' || ((n % 499 * 13 + n / 499 % 4) % 500),
            CASE WHEN n % 100000 = 0 THEN 9999 WHEN n % 499 % 3 = 0 THEN 5432 ELSE 443 END,
            CASE WHEN n % 499 % 3 = 0 THEN 'tcp' ELSE 'http' END,
            CASE WHEN n % 499 % 3 = 0 THEN '' WHEN n % 5 = 0 THEN 'POST' ELSE 'GET' END,
            CASE WHEN n % 499 % 3 = 0 THEN '' ELSE '/items/' || (n % 5003) END,
            CASE WHEN n % 50 = 0 THEN 'would-deny' ELSE 'denied' END,
            'bench/service-' || ((n % 499 * 13 + n / 499 % 4) % 500), 'in', 1 + n % 4, {at}, {at},
            CASE WHEN n % 499 % 3 = 0 THEN '' ELSE 'service-' || (n % 499) || '.bench' END,
            CASE WHEN n % 499 % 3 = 0 THEN 'db-' || (n % 89) || '.bench' ELSE '' END,
            '10.0.' || (n % 251) || '.' || (n % 241),
            'deny:bench/service-' || ((n % 499 * 13 + n / 499 % 4) % 500) || '@r' || (n * 30 / {rows}), 'rbac'
        FROM {series}{" AS n" if postgres else ""}
    """
    sums = f"""
        INSERT INTO violation_hours SELECT last_seen_ms / {HOUR_MS}, source, destination, port, protocol, verdict, sum(count)
        FROM violations GROUP BY last_seen_ms / {HOUR_MS}, source, destination, port, protocol, verdict ORDER BY 1
    """
    with engine.connect() as connection:
        if not postgres:
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql("PRAGMA cache_size=-262144")
        for index in tables.violations.indexes:
            index.drop(connection)
        connection.execute(text(insert))
        for index in sorted(tables.violations.indexes, key=lambda index: str(index.name)):
            index.create(connection)
        connection.execute(text(sums))
        connection.execute(
            text(
                "INSERT INTO violation_totals SELECT hour, port, protocol, verdict, sum(count) FROM violation_hours "
                "GROUP BY hour, port, protocol, verdict"
            )
        )
        connection.commit()
    if postgres:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE violations")
            connection.exec_driver_sql("VACUUM ANALYZE violation_hours")
