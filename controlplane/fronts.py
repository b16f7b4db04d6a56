"""The control plane's HTTPS listeners: the API with the console, and the injection webhook. Serves nothing itself.

Behind each is a plain listener on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from controlplane.api.listen import ApiServer
from controlplane.identity.authority import ServerIdentity
from controlplane.kubernetes.injection.document import load_rules
from controlplane.kubernetes.injection.rules import NEVER
from controlplane.kubernetes.webhook import create_webhook
from controlplane.settings import Listen, Settings
from controlplane.tlsfront import MountedCertificate, ServingCertificate, TlsFront

RENEW_LOOK_SECONDS = 10.0


class Fronts:
    """Those that the settings ask for. Make it, `start` and `stop` it once; `run` beside it."""

    def __init__(self, settings: Settings, authority: ServerIdentity) -> None:
        """Read what injection is to do.

        Raises:
            RulesError: the file on it cannot be used.
        """
        self._settings = settings
        self._certificate = ServingCertificate(authority, settings.server_names, lambda: datetime.now(UTC))
        self._mounted: MountedCertificate | None = None
        self._rules = None
        if settings.injection is not None:
            self._rules = load_rules(settings.injection)
        self._fronts: list[TlsFront] = []
        self._webhook: ApiServer | None = None

    @property
    def without_sidecars(self) -> frozenset[str]:
        """The namespaces in which nothing is injected, whatever their labels say."""
        return NEVER if self._rules is None else self._rules.never

    async def start(self, apis: Sequence[ApiServer]) -> list[str]:
        """Listen. What is served, each with its address.

        Raises:
            FrontError: an address cannot be had, or the webhook's own certificate.
            controlplane.api.listen.ListenError: not even loopback can.
        """
        listening: list[str] = []
        if self._settings.api_tls_listen is not None:
            plain = next(api.address for api in apis if not api.address.startswith("unix:"))
            opened = await self._open(self._settings.api_tls_listen, plain, "--api-tls-listen", self._certificate)
            listening.append(f"API {opened}")
        if self._settings.webhook_listen is not None and self._rules is not None:
            self._webhook = ApiServer(create_webhook(self._rules), Listen(host="127.0.0.1", port=0))
            if self._settings.webhook_certificate is not None:
                self._mounted = MountedCertificate(self._settings.webhook_certificate)
            shown = self._mounted or self._certificate
            address = await self._open(self._settings.webhook_listen, self._webhook.address, "--webhook-listen", shown)
            listening.append(f"webhook {address}")
        return listening

    async def run(self) -> None:
        """Keep the certificates valid, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_LOOK_SECONDS)
            self._certificate.renew()
            if self._mounted is not None:
                await asyncio.to_thread(self._mounted.renew)

    def authority_changed(self) -> None:
        """Another authority signs, or other roots are trusted: show a certificate of now to whoever connects from now on."""
        self._certificate.renew()

    async def stop(self) -> None:
        """Finish the reviews that are under way, and serve nobody any more. The API behind has been closed before."""
        if self._webhook is not None:
            await asyncio.to_thread(self._webhook.close)
        await asyncio.gather(*(front.stop() for front in self._fronts))

    async def _open(
        self, listen: Listen, plain: str, option: str, certificate: ServingCertificate | MountedCertificate
    ) -> str:  # fmt: skip
        behind = urlsplit(plain)
        assert behind.hostname is not None
        assert behind.port is not None  # an `ApiServer` on TCP says where it is
        front = TlsFront(certificate, listen, (behind.hostname, behind.port), option)
        self._fronts.append(front)
        return await front.start()
