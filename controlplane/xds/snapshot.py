"""Resources and snapshots as frozen values, serialised once. Never sends them.

A snapshot is all xDS resources of one sidecar at one revision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from weakref import ref

from google.protobuf.message import Message

from controlplane.xds import types, wire


@dataclass(frozen=True, slots=True)
class Resource:
    """One serialised resource.

    ``delta_bytes`` is a ``envoy.service.discovery.v3.Resource``, ``version`` a hash of the content. ``needs`` are the
    (type, name) pairs that it refers to. ``any_range`` is where in the bytes the resource itself stands.
    """

    type_url: str
    name: str
    version: str
    delta_bytes: bytes
    any_range: tuple[int, int]
    needs: tuple[tuple[str, str], ...] = ()

    @property
    def any_bytes(self) -> bytes:
        """The resource as ``google.protobuf.Any``, as state-of-the-world responses carry it."""
        start, end = self.any_range
        return self.delta_bytes[start:end]


def resource_of(type_url: str, name: str, message: Message, needs: Iterable[tuple[str, str]] = ()) -> Resource:
    """Serialise a message once. Deterministic: equal messages give equal bytes and equal versions."""
    return resource_from_bytes(type_url, name, message.SerializeToString(deterministic=True), needs)


def resource_from_bytes(type_url: str, name: str, body: bytes, needs: Iterable[tuple[str, str]] = ()) -> Resource:
    """Wrap a serialised message."""
    return resource_from_splice(type_url, name, content_hash(body), wire.Splice((body,)), needs)


def resource_from_splice(
    type_url: str, name: str, version: str, body: wire.Splice, needs: Iterable[tuple[str, str]] = ()
) -> Resource:
    """Wrap a message that is in parts; ``version`` is a hash of its content."""
    body.nest(2, wire.text(1, type_url))
    any_size = body.size
    # envoy.service.discovery.v3.Resource: version = 1, resource = 2, name = 3
    after = wire.text(3, name)
    delta = body.nest(2, wire.text(1, version), after).join()
    end = len(delta) - len(after)
    return Resource(type_url, name, version, delta, (end - any_size, end), tuple(sorted(set(needs))))


def content_hash(body: bytes) -> str:
    """A short name for exactly these bytes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def version_of(resources: Iterable[Resource]) -> str:
    """A short name for exactly these resources, in this order, as state-of-the-world responses carry it."""
    return content_hash("".join(f"{resource.name}\0{resource.version}\0" for resource in resources).encode())


@dataclass(frozen=True, slots=True)
class Difference:
    """What one type has that another snapshot's has not, or has otherwise, and the names that are gone."""

    changed: tuple[Resource, ...]
    gone: frozenset[str]


class ByName(dict[str, Resource]):
    """The resources of one type by name. It never changes once it is made: snapshots share it, and what was computed of it."""

    @cached_property
    def version(self) -> str:
        """A hash over the names and versions; empty when there are none."""
        return version_of(self[name] for name in sorted(self)) if self else ""

    def since(self, before: ByName) -> Difference:
        """What differs from another one. The last answer is kept: many streams come from the same to the same."""
        seen, kept = self._since
        if seen() is not before:
            changed = (r for name, r in self.items() if (old := before.get(name)) is not r and old != r)
            kept = Difference(tuple(changed), frozenset(before.keys() - self.keys()))
            self._since = ref(before), kept
        return kept

    @cached_property
    def _since(self) -> tuple[ref[ByName], Difference]:
        return ref(ByName()), Difference((), frozenset())


class InconsistentSnapshotError(ValueError):
    """A snapshot that refers to what it does not hold: a mistake of the compiler, never of a user."""


@dataclass(frozen=True)
class Snapshot:
    """Everything one sidecar is told. ``resources`` maps type URL to name to resource.

    ``bundle`` is the fingerprint of the trusted roots that it was made with, also where none of its resources needs them.
    """

    resources: Mapping[str, ByName]
    revision: int = 0
    bundle: str = ""

    @classmethod
    def of(cls, resources: Iterable[Resource], revision: int = 0, bundle: str = "") -> Snapshot:
        """Group resources by type."""
        grouped = {type_url: ByName() for type_url in types.PUSH_ORDER}
        for resource in resources:
            grouped[resource.type_url][resource.name] = resource
        return cls(grouped, revision, bundle)

    def sharing(self, other: Snapshot) -> Snapshot:
        """The same, with each type that is equal to another snapshot's taken from there.

        So what did not change is one object: no stream looks at it again, and it is kept once.
        """
        if self.resources is other.resources:
            return self
        resources: dict[str, ByName] = {}
        for type_url, by_name in self.resources.items():
            before = other.of_type(type_url)
            resources[type_url] = before if before is by_name or before == by_name else by_name
        same = all(resources[type_url] is before for type_url, before in other.resources.items())
        return Snapshot(other.resources if same else resources, self.revision, self.bundle)

    @property
    def type_versions(self) -> Mapping[str, str]:
        """A hash over the names and versions of each type."""
        return {type_url: by_name.version for type_url, by_name in self.resources.items()}

    @cached_property
    def version(self) -> str:
        """A hash over all names and versions."""
        return content_hash("".join(self.resources[type_url].version for type_url in sorted(self.resources)).encode())

    def of_type(self, type_url: str) -> ByName:
        """The resources of a type, by name."""
        return self.resources[type_url] if type_url in self.resources else ByName()

    def check_consistent(self) -> None:
        """Check that everything referred to is there, and that nothing is sent that nothing refers to.

        Raises:
            InconsistentSnapshotError: with the resource and what it lacks.
        """
        wanted: set[tuple[str, str]] = set()
        for by_name in self.resources.values():
            for resource in by_name.values():
                for type_url, name in resource.needs:
                    wanted.add((type_url, name))
                    if name not in self.of_type(type_url):
                        raise InconsistentSnapshotError(
                            f"{types.SHORT_NAMES[resource.type_url]} {resource.name} needs "
                            f"{types.SHORT_NAMES[type_url]} {name}, which the snapshot does not hold"
                        )
        for type_url in (types.ENDPOINT, types.ROUTE, types.SECRET, types.EXTENSION):
            for name in self.of_type(type_url):
                if (type_url, name) not in wanted:
                    raise InconsistentSnapshotError(f"{types.SHORT_NAMES[type_url]} {name} is not referred to by anything")
