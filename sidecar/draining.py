"""Lets what is under way finish: Envoy is asked to take nothing new, and then whether anything is left. Ends no process."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from sidecar.admin import Admin, AdminError

POLL_SECONDS = 0.1
_REQUESTS = re.compile(r"^(?!http\.admin\.)http\..*\.downstream_rq_active: ([0-9]+)$", re.MULTILINE)
_log = logging.getLogger("picket.envoy")


class Draining:
    """The end of one Envoy's work."""

    def __init__(self, admin: Admin, hooks_running: Callable[[], int] = lambda: 0) -> None:
        """``hooks_running``: the application's hooks before its end that are under way; the agent has to answer for them."""
        self._admin = admin
        self._hooks_running = hooks_running

    async def begin(self) -> None:
        """Take no new inbound connections after a while, and ask those that are open to end."""
        for path in ("/healthcheck/fail", "/drain_listeners?graceful&inboundonly"):
            try:
                answer = await self._admin.post(path)
            except AdminError as error:
                _log.warning("envoy not drained reason=%r", str(error))
                return
            if answer.status != 200:
                _log.warning("envoy not drained asked=%s status=%d", path, answer.status)

    async def finished(self, seconds: float, least_seconds: float = 0.0) -> bool:
        """Wait until no HTTP request and no hook is under way, for ``least_seconds`` in any case.

        Whether that was so within ``seconds``.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < seconds:
            quiet = loop.time() - began >= least_seconds and not self._hooks_running()
            if quiet and not await self.requests_active():
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def requests_active(self) -> int:
        """HTTP requests that are under way. 0 when Envoy does not answer: there are none, then."""
        try:
            answer = await self._admin.get("/stats?filter=downstream_rq_active")
        except AdminError:
            return 0
        return sum(int(count) for count in _REQUESTS.findall(answer.body.decode("utf-8", "replace")))
