"""Keeps the webhook configuration's `caBundle` what the API server has to trust. Touches no other field of it.

Somebody may write the configuration anew, without the bundle: until it is back, no pod is let in where sidecars are wanted.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog

from controlplane.kubernetes.client import Client, KubernetesError

PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
LOOK_SECONDS = 10.0
_log = structlog.get_logger("picket.injection")


class _ClientConfig(msgspec.Struct, rename="camel"):
    ca_bundle: str = ""


class _Webhook(msgspec.Struct, rename="camel"):
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Configuration(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    webhooks: list[_Webhook] = []


class CaBundle:
    """The bundle in one configuration."""

    def __init__(self, client: Client, configuration: str, bundle_pem: Callable[[], bytes]) -> None:
        self._client = client
        self._path = f"{PATH}/{configuration}"
        self._bundle_pem = bundle_pem
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """There are other roots: they are there before somebody signs who is only trusted by them."""
        self._changed.set()

    async def keep(self) -> bool:
        """Put it in where it is not. Says whether it was not.

        Raises:
            KubernetesError: there is no such configuration, it may not be changed, or it was changed at the same time.
        """
        wanted = base64.b64encode(self._bundle_pem()).decode()
        found = await self._client.get(self._path, _Configuration)
        stale = [number for number, webhook in enumerate(found.webhooks) if webhook.client_config.ca_bundle != wanted]
        if not stale:
            return False
        # Places are by number: the version says that these are still the same webhooks.
        changes = [{"op": "test", "path": "/metadata/resourceVersion", "value": found.metadata.resource_version}]
        changes += [{"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": wanted} for number in stale]
        await self._client.patch(self._path, changes, _Configuration)
        return True

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._changed.clear()
            try:
                if await self.keep():
                    _log.info("webhook trusted", configuration=self._path.rpartition("/")[2])
            except KubernetesError as error:
                _log.warning("webhook not looked after", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
