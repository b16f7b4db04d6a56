"""The control plane's identity and the mesh's roots from the SPIFFE Workload API, SPIRE's for example, where that is who signs.

Signs nothing: sidecars have their identities from there, too. The API sends another identity before this one ends, or when the
roots change; while it is away, the last one is used until it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import structlog

from protos.spiffe.client import EndpointError, answers
from protos.spiffe.endpoint import how_to_register
from protos.spiffe.svids import AnswerError, X509Svid, read_answer

#: An agent that begins with its machine, or a registration that is under way, is waited for.
START_SECONDS = 60.0
RETRY_SECONDS = 2.0
#: The path that Picket's own authority gives its control plane.
_PATH = "/picket/controlplane"
_log = structlog.get_logger("picket.identity")


class NoIdentityError(Exception):
    """The control plane has no identity there; the message says why and what to do."""


class WorkloadApiIdentity:
    """Implements `identity.authority.ServerIdentity`. First `started`, then `run` beside the server; the rest from any thread."""

    def __init__(
        self, target: str, trust_domain: str, names: Iterable[str], hint: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        """``names`` have to stand in the certificate, ``hint`` says which of several identities; ``clock`` gives Unix seconds."""
        self._target = target
        self._trust_domain = trust_domain
        self._names = tuple(dict.fromkeys(names))
        self._hint = hint
        self._clock = clock
        self._current: X509Svid | None = None
        self._reason = "no answer yet"
        self._had = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def current(self) -> X509Svid:
        """The identity of now. There is one once `started` has returned."""
        assert self._current is not None
        return self._current

    @property
    def bundle_pem(self) -> bytes:
        """The trust domain's roots."""
        return self.current.bundle_pem.encode()

    @property
    def version(self) -> object:
        """Differs where key, certificate or roots do."""
        return self.current

    def issue_server(self, _names: tuple[str, ...], _lifetime: timedelta, _now: datetime) -> tuple[bytes, bytes]:
        """The key and the chain (PEM both) of now, with the names and the lifetime that the API gave them."""
        return self.current.key_pem.encode(), self.current.chain_pem.encode()

    def why_not_ready(self) -> str:
        """What keeps peers from believing this control plane; empty where nothing does."""
        if self._clock() < self.current.not_after_seconds:
            return ""
        return f"the identity from the Workload API has ended, and there is no other: {self._reason}"

    def connect(self, changed: Callable[[], None]) -> None:
        """Say who hears of another identity or other roots, on the loop that `run` is on; it must not wait."""
        self._listeners.append(changed)

    async def started(self) -> None:
        """Return once there is an identity.

        Raises:
            NoIdentityError: there was none for `START_SECONDS`.
        """
        running = asyncio.create_task(self.run())
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._had.wait()
        except TimeoutError as error:
            raise NoIdentityError(f"no identity from the Workload API at {self._target}: {self._reason}") from error
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def run(self) -> None:
        """Listen to the API for ever."""
        while True:
            try:
                async with aclosing(answers(self._target)) as following:
                    async for answer in following:
                        await self._take(answer)
            except EndpointError as error:
                reason = f"{error}; {self._registered()}" if error.refused else str(error)
                self._failed(reason)
            await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, answer: bytes) -> None:
        try:
            found = self._chosen(await asyncio.to_thread(read_answer, answer))
        except (AnswerError, NoIdentityError) as error:
            self._failed(str(error))
            return
        if found == self._current:
            return
        self._current = found
        self._had.set()
        _log.info("identity from the Workload API", id=found.spiffe_id, not_after=found.not_after_seconds)
        for changed in self._listeners:
            changed()

    def _failed(self, reason: str) -> None:
        self._reason = reason
        _log.warning("no identity from the Workload API", target=self._target, error=reason)

    def _chosen(self, svids: Sequence[X509Svid]) -> X509Svid:
        """The one that sidecars take for the control plane's. Of several that are the same identity, the first."""
        ours = [svid for svid in svids if svid.spiffe_id.startswith(f"spiffe://{self._trust_domain}/")]
        if not ours:
            raise NoIdentityError(f"{svids[0].spiffe_id} is not of the trust domain {self._trust_domain}; see --trust-domain")
        hinted = [svid for svid in ours if not self._hint or svid.hint == self._hint]
        if not hinted:
            raise NoIdentityError(f"none of {len(ours)} identities has the hint {self._hint!r}; see --svid-hint")
        named = [svid for svid in hinted if not self._missing(svid)]
        if not named:
            first = hinted[0]
            raise NoIdentityError(
                f"{first.spiffe_id} lacks the DNS names {', '.join(self._missing(first))}, by which others know the control plane; "
                f"{self._registered(first.spiffe_id)}"
            )
        if len({svid.spiffe_id for svid in named}) > 1:
            listed = ", ".join(svid.spiffe_id for svid in named[:5])
            raise NoIdentityError(f"several identities could be the control plane's ({listed}); choose one with --svid-hint")
        if self._clock() >= named[0].not_after_seconds:
            raise NoIdentityError(f"{named[0].spiffe_id} ended at {named[0].not_after_seconds}; look at this machine's clock")
        return named[0]

    def _missing(self, svid: X509Svid) -> list[str]:
        return [name for name in self._names if name not in svid.dns_names]

    def _registered(self, spiffe_id: str = "") -> str:
        dns = " ".join(f"-dns {name}" for name in self._names)
        return how_to_register(spiffe_id or f"spiffe://{self._trust_domain}{_PATH}", dns)
