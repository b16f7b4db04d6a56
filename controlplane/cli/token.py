"""`picket token`: makes the file with which a new sidecar joins. The token goes into that file alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

from controlplane.api import places
from controlplane.cli.connection import NotFoundError, Session, connected
from controlplane.cli.output import show_json


@click.command("token", short_help="Let a new sidecar join.")
@click.argument("workload")
@click.option(
    "--output-file",
    "-f",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the join file goes.  [default: ./WORKLOAD.join.json]",
)
@click.option(
    "--lifetime-seconds",
    type=click.IntRange(1, 7 * 86400),
    default=3600,
    show_default=True,
    help="How long the token may wait to be used.",
)
@connected
def token(session: Session, workload: str, output_file: Path | None, lifetime_seconds: int) -> None:
    """Make a join file for one sidecar of WORKLOAD (namespace/account).

    It holds a token that is good once: give it to `picket sidecar --join FILE`.
    """
    document = session.post("/tokens", {"workload": workload, "lifetime_seconds": lifetime_seconds})
    name = document["workload"]
    file = output_file or Path(f"{name.replace('/', '.')}.join.json")
    try:
        places.write_private(file, json.dumps(document, indent=1) + "\n")
    except places.PlaceError as error:
        raise NotFoundError(str(error)) from error
    if session.output == "json":
        show_json({"workload": name, "file": str(file.absolute()), "lifetime_seconds": lifetime_seconds})
    else:
        click.echo(f"{file}: join file of {name}, good once, for {lifetime_seconds // 60} min")
