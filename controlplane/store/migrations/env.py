"""Alembic's entry: runs migrations on the connection and in the transaction of `store.schema`. Opens none itself."""

from __future__ import annotations

from alembic import context

from controlplane.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
