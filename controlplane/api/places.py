"""Where the API's files are: the default data directory, the token and the address of the control plane that runs there."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

#: `default_data` for people.
DEFAULT_DATA_SHOWN = "/var/lib/picket; not root: $XDG_STATE_HOME/picket"
MIN_TOKEN_LENGTH = 16
_MAX_BYTES = 4096


class PlaceError(ValueError):
    """A file that cannot be used; the message names it and says what to do."""


def default_data() -> Path:
    """The control plane's data directory unless another is named."""
    if os.geteuid() == 0:
        return Path("/var/lib/picket")
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "picket"


def token_file(data: Path) -> Path:
    """Where a control plane keeps the token that it made."""
    return data / "api-token"


def users_file(data: Path) -> Path:
    """Where a control plane keeps who has a named token."""
    return data / "api-users.json"


def address_file(data: Path) -> Path:
    """Where a running control plane writes where its API listens."""
    return data / "api-address"


def console_link_file(data: Path) -> Path:
    """Where a control plane that is new writes the one-time link by which its owner signs in to the console."""
    return data / "console-link"


def read_token(path: Path) -> tuple[str, str]:
    """A token, and a warning about its file's permissions (empty when there is nothing to say).

    Raises:
        PlaceError: missing, or no token.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MAX_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "it is not ASCII text")
        raise PlaceError(f"{path}: the API's token cannot be read: {why}") from error
    if len(text) < MIN_TOKEN_LENGTH or not text.isprintable() or " " in text:
        raise PlaceError(f"{path}: a token is one word of {MIN_TOKEN_LENGTH} or more characters, as `openssl rand -hex 32` makes")
    warning = f"{path} can be read by other users (mode {mode:04o}) and holds the API's token; chmod 600 it"
    return text, warning if mode & 0o007 else ""


def keep_token(path: Path) -> str:
    """The token in a file, made if there is none yet: 256 random bits, readable by this user alone.

    Raises:
        PlaceError: it can neither be made nor read.
    """
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    token, _ = read_token(path)
    return token


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all.

    Raises:
        PlaceError: it cannot be written.
    """
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise PlaceError(f"{path}: cannot be written: {error.strerror}") from error


def read_address(path: Path) -> str:
    """Where the API listens, as a control plane wrote it; empty when none did."""
    try:
        return path.read_text("ascii")[:_MAX_BYTES].strip()
    except (OSError, UnicodeDecodeError):
        return ""
