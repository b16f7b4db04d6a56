"""The options by which commands find a control plane, and the connection that they get. Says where it looked."""

from __future__ import annotations

import functools
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from controlplane.api import places

if TYPE_CHECKING:
    from controlplane.api.client import Client

PREFIX = "/api/v1"
Command = TypeVar("Command", bound=Callable[..., Any])


class NotFoundError(Exception):
    """No control plane, or no token for it; the message says where it was sought and what to do."""


@dataclass(frozen=True, slots=True)
class Session:
    """One command's way to the control plane, and how it is to answer ("table" or "json")."""

    client: Client
    output: str

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """The answer at a path below the API; parameters that are ``None`` or empty are left out."""
        return self.client.get(PREFIX + path, {k: v for k, v in (query or {}).items() if v not in {None, ""}})

    def every(self, path: str, rows: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """As `get`, with all pages of its list ``rows``."""
        found = self.get(path, query)
        while (cursor := found.pop("next_cursor", None)) is not None:
            further = self.get(path, {**(query or {}), "cursor": cursor})
            found = {**further, rows: found[rows] + further[rows]}
        return found

    def stream(self, path: str, query: Mapping[str, str | int | None]) -> Iterator[bytes]:
        """A file's content as it comes; parameters as for `get`."""
        return self.client.stream(PREFIX + path, {k: v for k, v in query.items() if v not in {None, ""}})

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Do something."""
        return self.client.post(PREFIX + path, body)

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        """Set something."""
        return self.client.put(PREFIX + path, body)


_OPTIONS = (
    click.option(
        "--server",
        envvar="PICKET_SERVER",
        metavar="ADDRESS",
        show_default="the control plane that runs in --data",
        help="unix:/path, http://localhost:port or https://host:port.",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        envvar="PICKET_DATA",
        default=places.default_data,
        show_default=places.DEFAULT_DATA_SHOWN,
        help="The control plane's data directory, where its address and token are.",
    ),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        envvar="PICKET_API_TOKEN_FILE",
        show_default="api-token in --data",
        help="File with the API's token.",
    ),
    click.option(
        "--output",
        "-o",
        type=click.Choice(["table", "json"]),
        default="table",
        envvar="PICKET_OUTPUT",
        show_default=True,
        help="For people, or for programs.",
    ),
)


def connected(function: Command) -> Command:
    """Give a command the options, and a `Session` as its first argument."""

    @functools.wraps(function)
    def run(*args: Any, server: str | None, data: Path, token_file: Path | None, output: str, **rest: Any) -> Any:
        return function(Session(connect(server, data, token_file), output), *args, **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # the same function to click, with four more options


@dataclass(frozen=True, slots=True)
class Way:
    """Where a control plane would be, for commands that may do without one."""

    server: str | None
    data: Path
    token_file: Path | None
    output: str

    def session(self) -> Session:
        """Connect.

        Raises:
            NotFoundError: there is none, or its token cannot be read.
        """
        return Session(connect(self.server, self.data, self.token_file), self.output)


def connectable(function: Command) -> Command:
    """Give a command the options, and a `Way` as its first argument."""

    @functools.wraps(function)
    def run(*args: Any, server: str | None, data: Path, token_file: Path | None, output: str, **rest: Any) -> Any:
        return function(Way(server, data, token_file, output), *args, **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # as above


def connect(server: str | None, data: Path, token_file: Path | None) -> Client:
    """A client of the control plane that was named, or of the one that runs in the data directory.

    Raises:
        NotFoundError: there is none, or its token cannot be read.
    """
    from controlplane.api.client import Client, ServerAddressError  # noqa: PLC0415  # `picket --help` does not pay for it

    address = server or _recorded(data)
    try:
        return Client(address, _token(address, data, token_file), pwd_name())
    except ServerAddressError as error:
        raise click.UsageError(f"--server: {error}") from error
    except places.PlaceError as error:
        raise NotFoundError(str(error)) from error


def _recorded(data: Path) -> str:
    file = places.address_file(data)
    address = places.read_address(file)
    if address:
        return address
    try:
        closed = not stat.S_ISDIR(data.stat().st_mode) or not os.access(data, os.X_OK)
    except OSError:
        closed = False
    if closed:
        raise NotFoundError(f"{data} is closed to this user; run as the control plane's user, or say --server and --token-file")
    raise NotFoundError(
        f"no control plane found: {file} does not exist; start one with `picket controlplane --topology FILE`, "
        "or name one with --server or PICKET_SERVER"
    )


def _token(address: str, data: Path, token_file: Path | None) -> str | None:
    if token_file is not None:
        token, warning = places.read_token(token_file)
        if warning:
            click.echo(f"picket: {warning}", err=True)
        return token
    file = places.token_file(data)
    # The token of this machine's control plane is nobody else's business.
    if address.startswith("unix:") or not _is_this_machine(urlsplit(address).hostname or "") or not file.exists():
        return None
    return places.read_token(file)[0]


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def pwd_name() -> str:
    """The user's name, as a claim for the audit log."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
