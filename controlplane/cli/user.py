"""`picket user`: local users, their roles, passwords and tokens. A new token goes into a private file alone."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from controlplane.api import places
from controlplane.cli.connection import NotFoundError, Session, connected
from controlplane.cli.output import show_json
from controlplane.policy.roles import Role

_ROLES = click.Choice([str(role) for role in Role])
_FILE = click.Path(path_type=Path, dir_okay=False)
_namespaces = click.option("--namespace", "namespaces", multiple=True, help="Where the role holds.  [default: everywhere]")
_days = click.option("--days", type=click.IntRange(1, 3650), help="How long the token is good.  [default: until it is revoked]")
_token_file = click.option("--output-file", "-f", type=_FILE, help="Where the token goes.  [default: ./NAME.token]")
_password_file = click.option(
    "--password-file", type=click.File("r"), help="Where the password stands, - for standard input.  [default: it is asked for]"
)


@click.group("user", short_help="Who may call the API and sign in, in which role.")
def user() -> None:
    """Give people and programs a role, a password and tokens of their own."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What the user may do.")
@_namespaces
@click.option("--password", is_flag=True, help="Ask for a password, for the console.")
@_password_file
@_days
@_token_file
@connected
def add(
    session: Session, name: str, role: str, *, namespaces: tuple[str, ...], password: bool, password_file: IO[str] | None,
    days: int | None, output_file: Path | None,
) -> None:  # fmt: skip
    """Make a user with a token or a password.

    The token is for --token-file, the password for the console.
    """
    by_password = password or password_file is not None
    body: dict[str, object] = {"name": name, "role": role, "token": not by_password}
    if namespaces:
        body["namespaces"] = list(namespaces)
    if days is not None:
        body["days"] = days
    if by_password:
        body["password"] = _read_password(password_file)
    document = session.post("/users", body)
    file = None
    if document["token"] is not None:
        file = _keep(document["token"], output_file or _file_of(name), f"take the user back with `picket user revoke {name}`")
    if session.output == "json":
        show_json({"name": name, "role": role, "namespaces": document["namespaces"], "file": None if file is None else str(file)})
    elif file is None:
        click.echo(f"{name} signs in to the console, {role}")
    else:
        click.echo(f"{output_file or file.name}: token of {name}, {role}")


@user.command("list")
@connected
def several(session: Session) -> None:
    """Show the users."""
    document = session.every("/users", "users")
    if session.output == "json":
        show_json(document)
        return
    if not document["users"]:
        click.echo("no user yet: the control plane's own token is admin; `picket user add NAME --role ROLE` makes one")
    for one in document["users"]:
        click.echo(f"{one['name']}  {_scope(one)}")


@user.command("change")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What the user may do from now on.")
@_namespaces
@connected
def change(session: Session, name: str, role: str, namespaces: tuple[str, ...]) -> None:
    """Give NAME another role or other namespaces."""
    _say(session, session.put("/users", {"name": name, "role": role} | ({"namespaces": list(namespaces)} if namespaces else {})))


@user.command("password")
@click.argument("name")
@_password_file
@connected
def password(session: Session, name: str, password_file: IO[str] | None) -> None:
    """Set a user's password.

    Whoever is signed in by the one before is out.
    """
    _say(session, session.put("/users/password", {"name": name, "password": _read_password(password_file)}))


@user.command("revoke")
@click.argument("name")
@connected
def revoke(session: Session, name: str) -> None:
    """Take NAME away with all tokens, at once."""
    document = session.post("/users/revoke", {"name": name})
    if session.output == "json":
        show_json(document)
    else:
        click.echo(f"{name} is out, with all tokens")


@user.command("tokens")
@click.argument("name", required=False)
@connected
def tokens(session: Session, name: str | None) -> None:
    """Show NAME's tokens, or all, newest first."""
    document = session.every("/access-tokens", "tokens", {"user": name})
    if session.output == "json":
        show_json(document)
        return
    if not document["tokens"]:
        click.echo("no token yet; `picket user token NAME` makes one")
    for one in document["tokens"]:
        state = "good" if one["good"] else "revoked" if one["revoked_ms"] is not None else "expired"
        click.echo(f"{one['id']}  {one['user']}  {one['label'] or '-'}  {_scope(one)}  {state}")


@user.command("token")
@click.argument("name")
@click.option("--label", default="", help="What it is for.")
@click.option("--role", type=_ROLES, help="What it may do at most.  [default: what the user may]")
@_namespaces
@_days
@_token_file
@connected
def token(
    session: Session, name: str, label: str, role: str | None, namespaces: tuple[str, ...], days: int | None,
    output_file: Path | None,
) -> None:  # fmt: skip
    """Make a further token of NAME."""
    if namespaces and role is None:
        raise click.UsageError("--namespace: say --role too")
    body: dict[str, object] = {"user": name, "label": label, "role": role, "days": days}
    document = session.post("/access-tokens", body | ({"namespaces": list(namespaces)} if namespaces else {}))
    made = document["token"]
    file = _keep(document["secret"], output_file or _file_of(name), f"revoke it with `picket user revoke-token {made['id']}`")
    if session.output == "json":
        show_json(made | {"file": str(file)})
    else:
        click.echo(f"{output_file or file.name}: token {made['id']} of {name}, {_scope(made)}")


@user.command("revoke-token")
@click.argument("number", type=click.IntRange(1))
@connected
def revoke_token(session: Session, number: int) -> None:
    """Take one token away, at once."""
    _say(session, session.post(f"/access-tokens/{number}/revoke", {}))


def _say(session: Session, document: dict[str, str]) -> None:
    if session.output == "json":
        show_json(document)
    else:
        click.echo(document["detail"])


def _scope(shown: dict[str, object]) -> str:
    names = shown["namespaces"]
    return str(shown["role"]) if not isinstance(names, list) else f"{shown['role']} in {', '.join(names)}"


def _file_of(name: str) -> Path:
    return Path(f"{name.replace('/', '.')}.token")


def _keep(secret: str, file: Path, remedy: str) -> Path:
    try:
        places.write_private(file, secret + "\n")
    except places.PlaceError as error:
        raise NotFoundError(f"{error}; {remedy}") from error
    return file.absolute()


def _read_password(file: IO[str] | None) -> str:
    """Never an argument: others can read those."""
    if file is not None:
        return str(file.readline()).rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
