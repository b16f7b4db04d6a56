"""The cluster that a control plane runs for, put together: one client, and what asks by it. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.cabundle import CaBundle
from controlplane.kubernetes.client import Client


class Cluster:
    """Everything of one cluster. `close` it when done."""

    def __init__(self, audience: str) -> None:
        """``audience`` is whom pods' tokens have to be for.

        Raises:
            client.KubernetesError: there is no access to a cluster.
        """
        self._client = Client()
        self.attestor = TokenReviews(self._client, audience)

    async def keep_trust(self, configuration: str, bundle_pem: Callable[[], bytes]) -> None:
        """Have the API server trust the webhook, until cancelled."""
        await CaBundle(self._client, configuration, bundle_pem).run()

    async def close(self) -> None:
        """End every connection."""
        await self._client.close()
