"""What a pod's agent answers about itself: whether it is ready, and statistics. Shows no configuration.

Ready is a sidecar that has configuration and whose Envoy has every listener up, until it drains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from sidecar.admin import Admin, AdminError
from sidecar.pages import NOT_FOUND, Page

READY_PATH = "/healthz/ready"
METRICS_PATH = "/stats/prometheus"
_METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"


class Figure(msgspec.Struct, frozen=True):
    """A number for Prometheus: its name, what it says, and its value now."""

    name: str
    meaning: str
    value: Callable[[], float]


class Health:
    """Answers for one sidecar; ``stopping`` says whether it is about to end."""

    def __init__(self, admin: Admin, stopping: Callable[[], bool], figures: Iterable[Figure]) -> None:
        self._admin = admin
        self._stopping = stopping
        self._figures = tuple(figures)

    async def health(self, path: str) -> Page:
        """`READY_PATH`: 200, or 503 with the reason."""
        if path != READY_PATH:
            return NOT_FOUND
        reason = await self._not_ready()
        return Page(503, f"{reason}\n".encode()) if reason else Page(200, b"ready\n")

    async def metrics(self, path: str) -> Page:
        """`METRICS_PATH`: the agent's own figures, then Envoy's, as Prometheus reads them."""
        if path != METRICS_PATH:
            return NOT_FOUND
        lines = []
        for figure in self._figures:
            lines += [f"# HELP {figure.name} {figure.meaning}", f"# TYPE {figure.name} gauge", f"{figure.name} {figure.value()}"]
        own = ("\n".join(lines) + "\n").encode()
        try:
            answer = await self._admin.get("/stats/prometheus")
        except AdminError:
            return Page(200, own, _METRICS_KIND)
        return Page(200, own + (answer.body if answer.status == 200 else b""), _METRICS_KIND)

    async def _not_ready(self) -> str:
        if self._stopping():
            return "the sidecar is about to end"
        try:
            answer = await self._admin.get("/ready")
        except AdminError:
            return "envoy does not run"
        # Envoy's word: LIVE, PRE_INITIALIZING (no configuration yet), DRAINING.
        return "" if answer.status == 200 else f"envoy is {answer.body[:40].decode('latin-1').strip().lower()}"
