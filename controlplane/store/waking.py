"""Wakes control planes that share a PostgreSQL when one of them changed what is in force. Knows no table, reads no policy.

Sources: https://www.postgresql.org/docs/current/sql-notify.html (sent when the transaction commits, and never lost while a
listener is connected), https://www.psycopg.org/psycopg3/docs/advanced/async.html#asynchronous-notifications
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, func, select

from controlplane.store.engine import patience

CHANNEL = "picket_in_force"
#: So often a connection on which nothing comes is asked whether it lives, and so long it has to answer: one that died without a
#: word, with its host or the network, would be waited for by the kernel for a quarter of an hour.
CHECK_SECONDS = 15.0
RETRY_SECONDS = 1.0
_log = structlog.get_logger("picket.store")


def announce(connection: Connection, origin: str) -> None:
    """Tell the others with the commit. ``origin`` names who did, for they tell it from what they did themselves."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, origin)))


async def follow(engine: Engine, origin: str) -> AsyncGenerator[None]:
    """One item for each change by another control plane, and for each time in which one may have been missed. Never ends."""
    import psycopg  # noqa: PLC0415  # an extra: who has SQLite alone has no driver for PostgreSQL

    arguments, options = engine.dialect.create_connect_args(engine.url)
    options.update(patience(engine.url))
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(*arguments, **options, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                yield
                async with aclosing(_told(connection, origin)) as told:
                    async for item in told:
                        yield item
        except (psycopg.Error, TimeoutError) as error:
            said = str(error).strip().splitlines()
            _log.warning("other control planes are not heard", error=said[0] if said else type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS)


async def _told(connection: Any, origin: str) -> AsyncGenerator[None]:
    """Notifications of others, until the connection is gone."""
    while True:
        async with aclosing(connection.notifies(timeout=CHECK_SECONDS)) as notifications:
            async for notification in notifications:
                if notification.payload != origin:
                    yield
        async with asyncio.timeout(CHECK_SECONDS):
            await connection.execute(b"SELECT 1")
