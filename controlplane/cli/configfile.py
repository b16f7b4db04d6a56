"""Reads the file of `picket controlplane --config`: YAML, one key per option. Refuses keys that are no option."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

MAX_FILE_BYTES = 256 * 1024


def read_config(path: Path, options: Iterable[click.Parameter]) -> dict[str, Any]:
    """The file's values by parameter name.

    Raises:
        click.UsageError: unreadable, not YAML, or a key or value that no option takes.
    """
    import yaml  # noqa: PLC0415  # only who has a file pays for its parser

    known = {option.opts[0].removeprefix("--"): option for option in options if option.name != "config"}
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"--config: {path}: {error.strerror}") from error
    if len(body) > MAX_FILE_BYTES:
        raise click.UsageError(f"--config: {path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        document = yaml.safe_load(body)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        raise click.UsageError(f"--config: {path}{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    except (RecursionError, ValueError) as error:
        raise click.UsageError(f"--config: {path}: not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise click.UsageError(f"--config: {path}: a mapping of options is wanted, such as `topology: mesh.yaml`")
    found = {}
    for key, value in document.items():
        option = known.get(key) if isinstance(key, str) else None
        if option is None:
            raise click.UsageError(f"--config: {path}: {str(key)[:60]!r} is no option; there are {', '.join(sorted(known))}")
        found[str(option.name)] = _value(value, option, f"--config: {path}: {key}")
    return found


def _value(value: object, option: click.Parameter, where: str) -> object:
    if option.multiple:
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise click.UsageError(f"{where}: a list of texts is wanted")
        return items
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where}: true or false is wanted")
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise click.UsageError(f"{where}: one value is wanted")
    return value
