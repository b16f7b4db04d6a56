"""`picket user`: named tokens for people and programs that call the API. A new token goes into a private file alone."""

from __future__ import annotations

from pathlib import Path

import click

from controlplane.api import places
from controlplane.cli.connection import NotFoundError, Session, connected
from controlplane.cli.output import show_json
from controlplane.policy.roles import Role


@click.group("user", short_help="Who may call the API, in which role.")
def user() -> None:
    """Give people and programs tokens of their own, each with a role."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in Role]), required=True, help="What the token may do.")
@click.option(
    "--output-file", "-f", type=click.Path(path_type=Path, dir_okay=False), help="Where the token goes.  [default: ./NAME.token]"
)
@connected
def add(session: Session, name: str, role: str, output_file: Path | None) -> None:
    """Make a token for NAME, to be used with --token-file."""
    file = output_file or Path(f"{name.replace('/', '.')}.token")
    document = session.post("/users", {"name": name, "role": role})
    try:
        places.write_private(file, document["token"] + "\n")
    except places.PlaceError as error:
        raise NotFoundError(f"{error}; take the token back with `picket user revoke {name}`") from error
    if session.output == "json":
        show_json({"name": name, "role": role, "file": str(file.absolute())})
    else:
        click.echo(f"{file}: token of {name}, {role}")


@user.command("list")
@connected
def several(session: Session) -> None:
    """Show who has a token."""
    document = session.every("/users", "users")
    if session.output == "json":
        show_json(document)
        return
    for one in document["users"]:
        click.echo(f"{one['name']}  {one['role']}")


@user.command("revoke")
@click.argument("name")
@connected
def revoke(session: Session, name: str) -> None:
    """Take NAME's token away, at once."""
    document = session.post("/users/revoke", {"name": name})
    if session.output == "json":
        show_json(document)
    else:
        click.echo(f"{name}'s token is revoked")
