"""The typed, readable view of what a sidecar is sent: `envoy-data-plane` decodes the compiled bytes. Never compiles any.

Imported only when somebody looks: its import takes half a second (design decision 5).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envoy_data_plane.google.protobuf import Any as PackedAny

from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot

_TYPE_URL = re.compile(rb"type\.googleapis\.com/([a-z0-9_]+(?:\.[a-z0-9_]+)*)\.[A-Z]")


@dataclass(frozen=True, slots=True)
class View:
    """One resource as protobuf JSON; ``type`` is CDS, EDS, LDS, RDS, SDS or ECDS."""

    type: str
    name: str
    version: str
    content: dict[str, Any]


def decode(snapshot: Snapshot, short_type: str | None = None) -> Iterator[View]:
    """Every resource, or every resource of one type, in the order in which it is pushed."""
    for type_url in types.PUSH_ORDER:
        if short_type not in {None, types.SHORT_NAMES[type_url]}:
            continue
        for name, resource in sorted(snapshot.of_type(type_url).items()):
            yield View(types.SHORT_NAMES[type_url], name, resource.version, decode_any(resource.any_bytes))


def decode_any(body: bytes) -> dict[str, Any]:
    """A serialised ``google.protobuf.Any`` as protobuf JSON. What this library does not know is named, not shown."""
    _register(body)
    packed = PackedAny.parse(body)
    try:
        shown: dict[str, Any] = packed.to_dict()
    except TypeError as error:
        return {"@type": packed.type_url, "undecoded": str(error)}
    return shown


def _register(body: bytes) -> None:
    """Import the packages of all types that are packed inside: only what is imported can be unpacked."""
    for package in {found[1].decode() for found in _TYPE_URL.finditer(body)}:
        try:
            importlib.import_module(f"envoy_data_plane.{package}")
        except ModuleNotFoundError:
            continue  # told by `decode_any`, if it is a type at all
