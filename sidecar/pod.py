"""What a pod's sidecar answers to the kubelet and to Prometheus: its three ports, put together. Decides no answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sidecar.addresses import own_addresses
from sidecar.admin import Admin
from sidecar.apphealth import AppHealth
from sidecar.health import Figure, Health
from sidecar.pages import Pages
from sidecar.ports import HEALTH_PORT, METRICS_PORT, PROBE_PORT
from sidecar.settings import Settings
from sidecar.spool import Spool
from sidecar.uplink import Uplink


class Pod:
    """The ports of one sidecar, open until `stop`."""

    def __init__(self, settings: Settings, figures: Iterable[Figure], stopping: Callable[[], bool]) -> None:
        health = Health(Admin(settings.paths.admin_socket), stopping, figures)
        self._application = AppHealth(settings.app_probes, [address for _, address in own_addresses()], settings.paths.root)
        self._ports = (
            Pages(PROBE_PORT, self._application.answer),
            Pages(HEALTH_PORT, health.health),
            Pages(METRICS_PORT, health.metrics),
        )

    @property
    def hooks_running(self) -> int:
        """The application's hooks that it has not answered yet."""
        return self._application.hooks_running

    async def start(self) -> None:
        """Listen. Raises `pages.PagesError`."""
        for port in self._ports:
            await port.start()

    async def stop(self) -> None:
        """Answer nobody any more."""
        for port in self._ports:
            await port.stop()


def figures(uplink: Uplink, spool: Spool, not_after_seconds: Callable[[], int]) -> tuple[Figure, ...]:
    """What Prometheus is told of the agent. ``not_after_seconds``: the certificate's end, Unix time; 0 without one."""
    return (
        Figure("picket_sidecar_control_plane_connected", "1 while the control plane answers", lambda: int(uplink.is_connected)),
        Figure("picket_sidecar_certificate_not_after_seconds", "End of the certificate, Unix time; 0: none", not_after_seconds),
        Figure("picket_sidecar_spool_batches", "Reports that wait to be taken", lambda: spool.waiting_batches),
        Figure("picket_sidecar_spool_bytes", "Bytes of the reports that wait to be taken", lambda: spool.waiting_bytes),
    )
