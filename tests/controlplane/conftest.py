"""What tests of more than one package need: an empty database in PostgreSQL."""

from __future__ import annotations

from tests.harness.postgresql import cluster, database, postgresql_url

__all__ = ["cluster", "database", "postgresql_url"]
