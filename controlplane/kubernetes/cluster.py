"""The cluster that a control plane runs for, put together: one client, and what asks by it. Decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from controlplane.kubernetes.approvals import Approvals
from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.bundles import TrustBundles
from controlplane.kubernetes.cabundle import CaBundle
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.discovery import Discovery
from controlplane.kubernetes.policies import Policies
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.kubernetes.topology import Found
from controlplane.policy.objects import Standing
from controlplane.policy.rules import Policy
from controlplane.workflow.approved import ApprovedDocuments
from controlplane.workflow.review import Review


class Cluster:
    """Everything of one cluster. `close` it when done."""

    def __init__(
        self,
        audience: str,
        declare: Callable[[Found], Awaitable[None]],
        bundle_pem: Callable[[], bytes],
        without_sidecars: Collection[str],
    ) -> None:
        """``audience`` is whom pods' tokens have to be for; ``declare`` hears of what the cluster holds (`Discovery`).

        ``bundle_pem`` gives the mesh's roots as they are now; in namespaces ``without_sidecars`` no pod lacks one.

        Raises:
            client.KubernetesError: there is no access to a cluster.
        """
        self._client = Client()
        self.discovery = Discovery(self._client, self._found, without_sidecars)
        self.attestor = TokenReviews(self._client, audience, self.discovery.pod)
        self._declare = declare
        self._bundle_pem = bundle_pem
        self._bundles = TrustBundles(self._client, bundle_pem)
        self._webhook: CaBundle | None = None
        self._objects = PolicyObjects(self._client)
        self._approvals: Approvals | None = None
        self._applied = False

    async def keep_trust(self, configuration: str) -> None:
        """Have the API server trust the webhook, until cancelled."""
        self._webhook = CaBundle(self._client, configuration, self._bundle_pem)
        await self._webhook.run()

    def trust_changed(self) -> None:
        """Have the roots that are kept in the cluster looked at now."""
        self._bundles.changed()
        if self._webhook is not None:
            self._webhook.changed()

    async def follow_policies(
        self, review: Review | None, in_force: Callable[[], Policy], approved: ApprovedDocuments | None
    ) -> None:
        """Put the cluster's TrafficPolicy objects into force by ``review``, and write what is approved there, until cancelled.

        Without one of them that is left.
        """
        self._applied = review is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._objects.run())
            if review is not None:
                group.create_task(Policies(self._client, self._objects, review, in_force).run())
            if approved is not None:
                self._approvals = Approvals(self._client, self._objects, approved.of, lambda: self.discovery.found.approvals)
                group.create_task(self._approvals.run())

    def policy_changed(self) -> None:
        """Have the objects looked at again: something else is in force. Called on the loop."""
        self._objects.ring()

    def standings(self) -> tuple[Standing, ...]:
        """How each TrafficPolicy object stands."""
        standings = self._objects.standings(applied=self._applied, written=self._approvals is not None)
        lacking = () if self._approvals is None else self._approvals.lacking
        found = {standing.object: standing for standing in (*standings, *lacking)}
        return tuple(found[key] for key in sorted(found))

    async def run(self) -> None:
        """Follow the cluster, and keep the roots where its pods find them, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.discovery.run())
            group.create_task(self._bundles.run())

    async def _found(self, found: Found) -> None:
        self._bundles.want(found.injected | {self._client.namespace})  # there for whoever reads the control plane's metrics
        await self._declare(found)
        self._objects.ring()

    async def known(self, stop: asyncio.Event, following: asyncio.Task[None]) -> None:
        """Return when the whole cluster was read once, at ``stop``, or when ``following``, the task of `run`, has failed."""
        waiting = [asyncio.create_task(event.wait()) for event in (self.discovery.known, stop)]
        await asyncio.wait((*waiting, following), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def close(self) -> None:
        """End every connection."""
        await self._client.close()
