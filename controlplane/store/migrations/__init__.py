"""Alembic's scripts, run by `store.schema` when a database is opened. Nothing imports them otherwise."""
