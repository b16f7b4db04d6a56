"""A PostgreSQL for tests: a cluster of its own on a Unix socket, started for the session and removed after it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.harness.directories import short_directory

_HBA = "local all secretive scram-sha-256\nlocal all all trust\n"


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL that listens on a Unix socket in ``directory`` alone."""

    directory: Path
    superuser: str

    def url(self, database: str, user: str | None = None) -> str:
        """A URL as an operator would write it."""
        return f"postgresql://{user or self.superuser}@/{database}?host={quote(str(self.directory))}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside a transaction."""
        with psycopg.connect(host=str(self.directory), user=self.superuser, dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())


def binaries() -> Path | None:
    """The directory that holds initdb, pg_ctl and postgres together."""
    places = [Path(found).resolve().parent for name in ("initdb", "pg_ctl") if (found := shutil.which(name))]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (config := shutil.which("pg_config")) is not None:
        places.append(Path(subprocess.run([config, "--bindir"], check=True, capture_output=True, text=True).stdout.strip()))
    return next((place for place in places if all((place / name).exists() for name in ("initdb", "pg_ctl", "postgres"))), None)


def _account() -> pwd.struct_passwd:
    """Who runs the cluster: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster for this session (with xdist, for this worker)."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is missing: install the Debian package postgresql")
    with running_cluster(programs) as made:
        yield made


@contextmanager
def running_cluster(programs: Path) -> Iterator[Cluster]:
    """Start a cluster from the programs in a directory; it is removed at the end."""
    account = _account()
    # Not under pytest's own directory: that is closed to other users. A server whose run was killed ends by itself within a minute
    # after its directory was removed.
    with short_directory("pg") as directory:
        yield from _running(programs, account, directory)


def _running(programs: Path, account: pwd.struct_passwd, directory: Path) -> Iterator[Cluster]:
    data = directory / "data"

    def run(*command: str) -> None:
        as_root = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        subprocess.run(
            [str(programs / command[0]), *command[1:]],
            check=True, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
            **as_root,  # type: ignore[call-overload]  # the keys are arguments of Popen
        )  # fmt: skip

    try:
        if os.getuid() == 0:
            os.chown(directory, account.pw_uid, account.pw_gid)
        run("initdb", "-D", str(data), "-U", "picket", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        (data / "pg_hba.conf").write_text(_HBA)
        options = f"-c listen_addresses='' -c fsync=off -c max_connections=200 -k {directory}"
        run("pg_ctl", "-D", str(data), "-l", str(directory / "log"), "-o", options, "-w", "start")
        yield Cluster(directory, "picket")
    finally:
        if (data / "postmaster.pid").exists():
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="session")
def database(cluster: Cluster) -> str:
    """The name of the one database that tests use in turn: emptying it is twenty times as fast as making another."""
    cluster.execute("CREATE DATABASE picket_test")
    return "picket_test"


@pytest.fixture
def postgresql_url(cluster: Cluster, database: str) -> Iterator[str]:
    """The URL of an empty database."""
    yield cluster.url(database)
    cluster.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{database}'")
    cluster.execute("DROP SCHEMA public CASCADE", database)
    cluster.execute("CREATE SCHEMA public", database)
