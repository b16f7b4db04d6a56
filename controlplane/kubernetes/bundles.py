"""Keeps the mesh's root certificates in each namespace that has sidecars, as a ConfigMap that their pods mount.

A pod of such a namespace does not start without it, and whoever changes it would have sidecars believe somebody else: it is
looked at again and again, and put right. Touches no other object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import structlog

from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.names import TRUST_BUNDLE, TRUST_BUNDLE_KEY

#: All namespaces are looked at again after so long; one that is new, or failed, sooner.
LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0
_log = structlog.get_logger("picket.bundles")


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _ConfigMap(msgspec.Struct, rename="camel"):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    data: dict[str, str] | None = None


class TrustBundles:
    """The ConfigMaps of one cluster."""

    def __init__(self, client: Client, bundle_pem: Callable[[], bytes]) -> None:
        """``bundle_pem`` gives the roots as they are now."""
        self._client = client
        self._bundle_pem = bundle_pem
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def want(self, namespaces: Iterable[str]) -> None:
        """Where they are to be. What is elsewhere stays: a pod may still mount it."""
        wanted = frozenset(namespaces)
        if wanted - self._wanted:
            self._changed.set()
        self._wanted = wanted

    def changed(self) -> None:
        """There are other roots."""
        self._changed.set()

    async def run(self) -> None:
        """Keep them for ever."""
        while True:
            self._changed.clear()
            failed = False
            for namespace in sorted(self._wanted):
                try:
                    if await self.keep(namespace):
                        _log.info("trust bundle written", namespace=namespace)
                except KubernetesError as error:
                    failed = True
                    _log.warning("trust bundle not written", namespace=namespace, error=str(error))
            try:
                async with asyncio.timeout(RETRY_SECONDS if failed else LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def keep(self, namespace: str) -> bool:
        """Put one right. Says whether it was not.

        Raises:
            KubernetesError: it may not be written, or was written by somebody else at the same time.
        """
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        wanted = {TRUST_BUNDLE_KEY: self._bundle_pem().decode("ascii")}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "data": wanted}
        try:
            found = await self._client.get(f"{path}/{TRUST_BUNDLE}", _ConfigMap)
        except KubernetesError as error:
            if error.status != 404:
                raise
            await self._client.post(path, {**body, "metadata": {"name": TRUST_BUNDLE}}, _ConfigMap)
            return True
        if found.data == wanted:
            return False
        metadata = {"name": TRUST_BUNDLE, "resourceVersion": found.metadata.resource_version}
        await self._client.put(f"{path}/{TRUST_BUNDLE}", {**body, "metadata": metadata}, _ConfigMap)
        return True
