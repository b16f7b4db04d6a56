"""Reads a YAML file that a setting names into a schema, bounded, and says where it is wrong. Knows no setting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from controlplane.settings import SettingsError

MAX_BYTES = 256 * 1024
Schema = TypeVar("Schema", bound=msgspec.Struct)


def read_file(path: Path, schema: type[Schema], setting: str) -> Schema:
    """The file's content.

    Raises:
        SettingsError: unreadable, too large, not YAML, or not of the schema.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(f"{setting}: {path}: larger than {MAX_BYTES} bytes")
    try:
        return msgspec.yaml.decode(content, type=schema)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{setting}: {path}: {error}") from error


def read_secret(path: Path, base: Path, setting: str) -> str:
    """The one line of a file that holds a secret; relative paths are beside the file that names it.

    Raises:
        SettingsError: unreadable, open to others, or not one line of text.
    """
    file = base.parent / path
    try:
        found = file.stat()
        # A file that somebody else put here, as kubelet does a Secret's, is read by way of its group.
        if found.st_mode & (0o077 if found.st_uid == os.geteuid() else 0o037):
            raise SettingsError(f"{setting}: {file}: others can read it; chmod 600 it")
        with file.open("rb") as opened:
            text = opened.read(4097).decode().strip()
    except OSError as error:
        raise SettingsError(f"{setting}: {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {file}: is no text") from error
    if not text or len(text) > 4096 or not text.isprintable():
        raise SettingsError(f"{setting}: {file}: one line of text is wanted")
    return text
