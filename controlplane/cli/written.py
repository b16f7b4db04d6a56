"""Finds and reads the YAML files that a command is given, and writes reports. Never says what is in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from controlplane.policy.written.source import MAX_BYTES
from controlplane.topology.document import TopologyError, load_topology
from controlplane.topology.model import Topology

MAX_FILES = 20_000
_SUFFIXES = frozenset({".yaml", ".yml"})


def yaml_files(paths: Sequence[Path]) -> list[tuple[Path, bytes]]:
    """The files of some paths, with those below folders, each once and in order.

    Raises:
        click.UsageError: a path that cannot be read, a folder without YAML files, or too many of them.
    """
    found: dict[Path, bytes] = {}
    for path in paths:
        below = yaml_below(path) if path.is_dir() else [path]
        if not below:
            raise click.UsageError(f"{path}: no YAML file in it")
        for file in below:
            if len(found) >= MAX_FILES:
                raise click.UsageError(f"more than {MAX_FILES} files")
            if file not in found:
                found[file] = read_file(file)
    return list(found.items())


def yaml_below(folder: Path) -> list[Path]:
    """YAML files below a folder, in order; hidden ones, and what links lead to, are left alone."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place) / name for name in sorted(names) if not name.startswith(".") and Path(name).suffix in _SUFFIXES]
    return found


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A file's bytes, at most one more than the limit, so that its reader can say that it is too large.

    Raises:
        click.UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read: {error.strerror}") from error


def read_topology(path: Path | None) -> Topology | None:
    """The topology of a file.

    Raises:
        click.UsageError: it does not read.
    """
    if path is None:
        return None
    try:
        return load_topology(path).topology
    except TopologyError as error:
        raise click.UsageError(str(error)) from error


def write_file(path: Path, text: str) -> None:
    """Write a whole file or nothing; a file that was there keeps its permissions.

    Raises:
        click.UsageError: it cannot be written.
    """
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                file.write(text)
            Path(name).chmod(mode)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)  # it is there only if something failed
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def as_sent(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Files of some paths as the API takes them.

    Raises:
        click.UsageError: as `yaml_files`.
    """
    return [{"name": name, "text": body.decode("utf-8", "replace")} for name, body in named(yaml_files(paths))]


def named(files: Iterable[tuple[Path, bytes]]) -> list[tuple[str, bytes]]:
    """Files by the names that findings show."""
    return [(str(path), body) for path, body in files]
