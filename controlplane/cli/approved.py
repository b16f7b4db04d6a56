"""Where commands take the approved policy and its use from: the control plane, or files that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from controlplane.cli.connection import NotFoundError, Way
from controlplane.cli.written import named, read_file, yaml_files
from controlplane.policy.answers import MAX_BYTES, AnswerError, Seen, read_map, read_policy
from controlplane.policy.findings import Finding
from controlplane.policy.leases import from_ms
from controlplane.policy.rules import Mode, Policy
from controlplane.policy.traffic_documents import policy_of, read_documents
from controlplane.policy.traffic_policy import Held, Lease, TrafficPolicy
from controlplane.topology.model import parse_service_name

#: The most edges that the API answers at once.
MAP_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Documents:
    """TrafficPolicy files: what they hold, and what is wrong with them."""

    files: tuple[str, ...]
    documents: tuple[TrafficPolicy, ...]
    findings: tuple[Finding, ...]


def read_folder(paths: Sequence[Path]) -> Documents:
    """The documents of files and folders."""
    files = named(yaml_files(paths))
    readings = [read_documents(body, name) for name, body in files]
    return Documents(
        tuple(name for name, _ in files),
        tuple(document for reading in readings for document in reading.documents),
        tuple(finding for reading in readings for finding in reading.findings),
    )


def ask(way: Way, path: str, query: dict[str, str | int | None] | None = None) -> bytes:
    """The control plane's answer as it would be saved to a file.

    Raises:
        click.UsageError: there is no control plane, or it refuses: what depends on the answer cannot be said.
    """
    from controlplane.api.client import ApiError, UnreachableError  # noqa: PLC0415  # only who connects pays for it

    try:
        answer: Any = way.session().get(path, query)
    except (NotFoundError, ApiError, UnreachableError) as error:
        raise click.UsageError(str(error)) from error
    return msgspec.json.encode(answer)


def read_answer(path: Path) -> bytes:
    """An answer that was saved to a file."""
    body = read_file(path, MAX_BYTES)
    if len(body) > MAX_BYTES:
        raise click.UsageError(f"{path}: larger than {MAX_BYTES} bytes")
    return body


def seen(way: Way, file: Path | None) -> Seen:
    """The map, from a saved answer or from the control plane.

    Raises:
        click.UsageError: it cannot be had, or does not read.
    """
    body = ask(way, "/map", {"limit": MAP_LIMIT}) if file is None else read_answer(file)
    try:
        return read_map(body)
    except AnswerError as error:
        raise click.UsageError(f"{file or '/map'}: {error}") from error


def leases(way: Way) -> dict[Held, Lease]:
    """The leases of what is approved, from the control plane.

    Raises:
        click.UsageError: they cannot be had.
    """
    found = msgspec.json.decode(ask(way, "/leases"))["leases"]
    return {
        (parse_service_name(held["destination"]), held["source"], held["port"]): Lease(
            held["owner"], held["reason"], held["ticket"], None if held["expires_ms"] is None else from_ms(held["expires_ms"])
        )
        for held in found
        if held["owner"] or held["reason"] or held["ticket"] or held["expires_ms"]
    }


def approved(way: Way, paths: Sequence[Path], default_mode: Mode, modes: Seen | None = None) -> tuple[Policy, Documents]:
    """The approved policy: of TrafficPolicy files, of one saved answer (``.json``), or of the control plane.

    ``modes`` are those of the map, for answers that have none.

    Raises:
        click.UsageError: it cannot be had, or does not read.
    """
    nothing = Documents((), (), ())
    if paths and not (len(paths) == 1 and paths[0].suffix == ".json"):
        folder = read_folder(paths)
        return policy_of(folder.documents, default_mode=default_mode), folder
    body = read_answer(paths[0]) if paths else ask(way, "/policy")
    try:
        return read_policy(body, modes.modes if modes is not None else None, default_mode), nothing
    except AnswerError as error:
        raise click.UsageError(f"{paths[0] if paths else '/policy'}: {error}") from error
