"""Knows all objects of one kind: lists them, then follows what changes. Looks at no object but at where it belongs.

A watch ends, breaks off, or is told that what it asks for is forgotten (410 Gone); it goes on where it was, or lists anew.
Versions only grow: what is not newer than what was heard is a repetition, and passed over.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec
import structlog

from controlplane.kubernetes.client import Client, KubernetesError, Parameters
from controlplane.kubernetes.objects import Object

PAGE = 500
#: More objects of a kind than this are not held: the cluster is larger than this control plane is made for.
MAX_OBJECTS = 200_000
#: The API is asked to end a watch after so long; what it missed to say is found by listing anew after the second.
WATCH_SECONDS = 300
RESYNC_SECONDS = 1800.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
_GONE = 410
_ALL: Parameters = MappingProxyType({})
_log = structlog.get_logger("picket.watch")
T = TypeVar("T", bound=Object)


class _ListMetadata(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next_page: str = msgspec.field(name="continue", default="")


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: _ListMetadata


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


async def pages(
    client: Client, path: str, kind: type[T], asking: Parameters = _ALL
) -> AsyncGenerator[tuple[Sequence[T], str], None]:  # fmt: skip
    """A collection page by page, each with the version of the whole.

    Raises:
        KubernetesError: refused.
    """
    parameters: dict[str, str | int] = {**asking, "limit": PAGE}
    page_of = _list_of(kind)
    while True:
        page = await client.get(path, page_of, parameters)
        yield page.items or (), page.metadata.resource_version
        if not page.metadata.next_page:
            return
        parameters["continue"] = page.metadata.next_page


class Watch(Generic[T]):
    """All objects of one kind, as `run` has heard of them."""

    def __init__(
        self, client: Client, path: str, kind: type[T], changed: Callable[[], None], ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """``path``: the collection in all namespaces. ``changed`` hears of each change once there is a first full list."""
        self._client = client
        self._path = path
        self._changed = changed
        self._ticks = ticks
        self._kind = kind
        self._random = random.SystemRandom()
        self._objects: dict[str, T] = {}
        self._version = ""
        self._listed_at = 0.0
        self.synced = asyncio.Event()

    @property
    def objects(self) -> Mapping[str, T]:
        """What is there now, by `Metadata.key`. Changes in place."""
        return self._objects

    async def run(self) -> None:
        """Follow for ever. What fails is logged and tried again, more and more slowly."""
        failures = 0
        while True:
            since = ""
            try:
                if not self._version or self._ticks() - self._listed_at > RESYNC_SECONDS:
                    await self._relist()
                since = self._version
                await self._follow()
                failures = 0
            except KubernetesError as error:
                # A watch that something between cuts off again and again, but for that follows, is no failing one.
                failures = 1 if since not in {"", self._version} else failures + 1
                if error.status == _GONE:
                    self._version = ""
                    _log.info("listing anew", path=self._path, reason=str(error))
                else:
                    _log.warning("cluster not followed", path=self._path, error=str(error), synced=self.synced.is_set())
            await asyncio.sleep(self._pause_seconds(failures))

    def _pause_seconds(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 20))
        return self._random.uniform(FIRST_PAUSE_SECONDS / 2, longest)

    async def _relist(self) -> None:
        """All there is, page by page; nothing is taken over before the last page."""
        found: dict[str, T] = {}
        version = ""
        async with aclosing(pages(self._client, self._path, self._kind)) as listed:
            async for items, version_of_page in listed:
                version = version_of_page
                found |= {item.metadata.key: item for item in items}
                if len(found) > MAX_OBJECTS:
                    raise KubernetesError(0, f"{self._path}: more than {MAX_OBJECTS} objects")
        is_news = not self.synced.is_set() or found != self._objects
        self._objects, self._version, self._listed_at = found, version, self._ticks()
        self.synced.set()
        if is_news:
            self._changed()

    async def _follow(self) -> None:
        """One watch, until it ends."""
        parameters: dict[str, str | int] = {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": self._version, "timeoutSeconds": WATCH_SECONDS,
        }  # fmt: skip
        async with aclosing(self._client.lines(self._path, parameters)) as lines:
            async for line in lines:
                if line.strip():
                    self._heard(line)

    def _heard(self, line: bytes) -> None:
        """One event."""
        try:
            event = msgspec.json.decode(line, type=_Event)
            match event.type:
                case "ERROR":
                    status = msgspec.json.decode(event.object, type=_Status)
                    raise KubernetesError(status.code, f"{self._path}: {status.message}")
                case "BOOKMARK":
                    version = msgspec.json.decode(event.object, type=_Bookmark).metadata.resource_version
                    self._version = version if _is_newer(version, self._version) else self._version
                case "ADDED" | "MODIFIED" | "DELETED":
                    self._apply(event.type, msgspec.json.decode(event.object, type=self._kind))
                case _:
                    pass  # a kind of event that is not known yet says nothing that could be used
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KubernetesError(0, f"{self._path}: an event that does not read: {error}") from error

    def _apply(self, change: str, seen: T) -> None:
        key, version = seen.metadata.key, seen.metadata.resource_version
        if not _is_newer(version, self._version):
            return
        self._version = version
        if change == "DELETED":
            if self._objects.pop(key, None) is not None:
                self._changed()
            return
        if key not in self._objects and len(self._objects) >= MAX_OBJECTS:
            raise KubernetesError(0, f"{self._path}: more than {MAX_OBJECTS} objects")
        before = self._objects.get(key)
        self._objects[key] = seen
        if before is None or _without_version(before) != _without_version(seen):
            self._changed()


def _list_of(kind: type[T]) -> type[_List[T]]:
    return _List[kind]  # type: ignore[valid-type]  # a type that is known when it runs


class _List(msgspec.Struct, Generic[T]):
    metadata: _ListMetadata
    items: list[T] | None


def _is_newer(version: str, than: str) -> bool:
    """Whether a version came later. Those that are no numbers cannot be compared, and are believed."""
    if version.isascii() and version.isdigit() and than.isascii() and than.isdigit():
        return int(version) > int(than)
    return bool(version)


def _without_version(seen: Object) -> Object:
    """An object as far as it says something: heartbeats change its version and nothing that is read."""
    return msgspec.structs.replace(seen, metadata=msgspec.structs.replace(seen.metadata, resource_version=""))
