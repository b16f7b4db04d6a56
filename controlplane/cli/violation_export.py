"""`picket violations export`: the violations of a query as a file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import plural


@click.command("export", short_help="Write them as CSV, NDJSON or OCSF events.")
@click.option("--format", "form", type=click.Choice(["csv", "ndjson", "ocsf"]), default="ndjson", show_default=True)
@click.option("--query", "-q", metavar="LINE", help="As `picket violations --query` takes it.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True, help="How many, newest first.")
@click.option("--file", "-f", type=click.Path(path_type=Path, dir_okay=False), help="Where to; without it, standard output.")
@connected
def export(session: Session, *, form: str, query: str | None, limit: int, file: Path | None) -> None:
    """Write violations as CSV, NDJSON or OCSF events (class Network Activity), newest first."""
    chunks = session.stream("/violations/export", {"format": form, "q": query, "limit": limit})
    if file is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    first = next(chunks, b"")  # so that a query that does not read leaves no file
    lines = first.count(b"\n")
    try:
        with file.open("wb") as target:
            target.write(first)
            for chunk in chunks:
                target.write(chunk)
                lines += chunk.count(b"\n")
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from error
    click.echo(f"{plural(lines, 'line')} written to {file}", err=True)
