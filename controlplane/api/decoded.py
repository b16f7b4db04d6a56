"""The typed, readable view of what a sidecar is sent: `envoy-data-plane` decodes the compiled bytes. Never compiles any.

Imported only when somebody looks: its import takes half a second (design decision 5).
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from envoy_data_plane.google.protobuf import Any as PackedAny
from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError

from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot

_TYPE_URL = re.compile(rb"type\.googleapis\.com/((?:envoy|xds|udpa|google\.protobuf)(?:\.[a-z0-9_]+)*)\.[A-Z]")


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
    """A serialised ``google.protobuf.Any`` as protobuf JSON. What no library here can read is named, not shown."""
    try:
        return decode_typed(body)
    except (TypeError, ValueError, EOFError):
        # envoy-data-plane 2.2 lacks a few types that Envoy has, such as xds.type.matcher.v3.IPMatcher.
        return _decode_by_descriptors(body)


def decode_typed(body: bytes) -> dict[str, Any]:
    """The same, by `envoy-data-plane` alone.

    Raises:
        TypeError: it lacks a type.
        ValueError, EOFError: these bytes are no such message.
    """
    for package in _packages(body):
        with suppress(ModuleNotFoundError):
            importlib.import_module(f"envoy_data_plane.{package}")
    shown: dict[str, Any] = PackedAny.parse(body).to_dict()
    return shown


def _decode_by_descriptors(body: bytes) -> dict[str, Any]:
    """The same, by the library that compiled it."""
    for package in _packages(body):
        with suppress(ModuleNotFoundError):
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                if module.name.endswith("_pb2"):
                    importlib.import_module(f"{package}.{module.name}")
    packed = any_pb2.Any.FromString(body)
    try:
        shown: dict[str, Any] = json_format.MessageToDict(packed)
    except (TypeError, DecodeError) as error:
        return {"@type": packed.type_url, "undecoded": str(error)}
    return shown


def _packages(body: bytes) -> set[str]:
    """The packages of all types that are packed inside: only what is imported can be unpacked."""
    return {found[1].decode() for found in _TYPE_URL.finditer(body)}
