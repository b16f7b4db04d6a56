"""Keeps the topology as the cluster is: watches what it is read from, and says when it is another one. Decides nothing of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import structlog

from controlplane.kubernetes import objects
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.injection.rules import NEVER
from controlplane.kubernetes.objects import Objects
from controlplane.kubernetes.topology import Found, found_in
from controlplane.kubernetes.watch import Watch

#: Changes come in flocks: a deployment of ten pods is one change or a few, not fifty.
GATHER_SECONDS = 0.2
#: Reading a large cluster takes its time, and may take this share of it.
_SHARE = 0.2
_log = structlog.get_logger("picket.discovery")


class Discovery:
    """Follows one cluster."""

    def __init__(
        self,
        client: Client,
        declare: Callable[[Found], Awaitable[None]],
        without_sidecars: Collection[str] = NEVER,
        *,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """``declare`` hears of each state of the cluster that differs from the one before; the first once all is known."""
        self._declare = declare
        self._without_sidecars = without_sidecars
        self._gather_seconds = gather_seconds
        self._changed = asyncio.Event()
        changed = self._changed.set
        self._namespaces = Watch(client, "/api/v1/namespaces", objects.Namespace, changed)
        self._accounts = Watch(client, "/api/v1/serviceaccounts", objects.ServiceAccount, changed)
        self._services = Watch(client, "/api/v1/services", objects.Service, changed)
        self._slices = Watch(client, "/apis/discovery.k8s.io/v1/endpointslices", objects.EndpointSlice, changed)
        self._pods = Watch(client, "/api/v1/pods", objects.Pod, changed)
        self._found: Found | None = None
        self.known = asyncio.Event()

    @property
    def found(self) -> Found:
        """The cluster as it was declared last."""
        return self._found or Found()

    def pod(self, key: str) -> objects.Pod | None:
        """A pod as it was heard of last, by ``namespace/name``."""
        return self._pods.objects.get(key)

    @property
    def _watches(self) -> tuple[Watch[Any], ...]:
        return self._namespaces, self._accounts, self._services, self._slices, self._pods

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())
            group.create_task(self._keep())

    async def _keep(self) -> None:
        """Declare what there is whenever it has changed."""
        for watch in self._watches:
            await watch.synced.wait()
        while True:
            self._changed.clear()
            began = time.monotonic()
            found = await asyncio.to_thread(found_in, self._held(), self._without_sidecars)
            took_seconds = time.monotonic() - began
            if found != self._found:
                for note in found.gaps.notes:
                    if note not in self.found.gaps.notes:
                        _log.warning("cluster", note=note)
                self._found = found
                await self._declare(found)
            if not self.known.is_set():
                _log.info("cluster known", services=len(found.topology.services))
                self.known.set()
            await self._changed.wait()
            await asyncio.sleep(max(self._gather_seconds, took_seconds / _SHARE))

    def _held(self) -> Objects:
        """A copy: watches go on while it is read."""
        return Objects(
            dict(self._namespaces.objects), dict(self._accounts.objects), dict(self._services.objects),
            dict(self._slices.objects), dict(self._pods.objects),
        )  # fmt: skip
