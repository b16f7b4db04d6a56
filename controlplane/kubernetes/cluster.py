"""The cluster that a control plane runs for, put together: one client, and what asks by it. Decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.cabundle import CaBundle
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.discovery import Discovery
from controlplane.kubernetes.topology import Found


class Cluster:
    """Everything of one cluster. `close` it when done."""

    def __init__(self, audience: str, declare: Callable[[Found], Awaitable[None]]) -> None:
        """``audience`` is whom pods' tokens have to be for; ``declare`` hears of what the cluster holds (`Discovery`).

        Raises:
            client.KubernetesError: there is no access to a cluster.
        """
        self._client = Client()
        self.attestor = TokenReviews(self._client, audience)
        self.discovery = Discovery(self._client, declare)

    async def keep_trust(self, configuration: str, bundle_pem: Callable[[], bytes]) -> None:
        """Have the API server trust the webhook, until cancelled."""
        await CaBundle(self._client, configuration, bundle_pem).run()

    async def run(self) -> None:
        """Follow the cluster for ever."""
        await self.discovery.run()

    async def known(self, stop: asyncio.Event) -> None:
        """Return when the whole cluster was read once, or at ``stop``."""
        waiting = [asyncio.create_task(event.wait()) for event in (self.discovery.known, stop)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def close(self) -> None:
        """End every connection."""
        await self._client.close()
