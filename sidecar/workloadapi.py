"""Has an identity at hand from the SPIFFE Workload API, SPIRE's for example, in place of Picket's own authority.

The identity comes with its key and roots, and the API sends another before it ends, or when the roots change. Where the API is
away or takes the identity back, the last one is used until it ends: it is short-lived, and APIs that restart say "none" in passing.
Reads no certificate: `svid` does, in a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec

from protos.spiffe.client import EndpointError, answers
from protos.spiffe.endpoint import how_to_register
from sidecar.apart import ApartError, run_apart
from sidecar.backoff import Backoff
from sidecar.identity import Identity, IdentityError, load, save
from sidecar.join import Join
from sidecar.race import first

#: Somebody may be registering the workload right now, as SPIRE's controller does when a pod begins.
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 0.5, 10.0
_LOOK_SECONDS = 60.0
_log = logging.getLogger("picket.identity")


class _Written(msgspec.Struct):
    """What `svid` writes: an identity, or why there is none."""

    reason: str = ""
    spiffe_id: str = ""
    key_pem: str = ""
    chain_pem: str = ""
    bundle_pem: str = ""
    not_before_seconds: int = 0
    not_after_seconds: int = 0


class WorkloadApi:
    """Implements `identity.IdentitySource`."""

    def __init__(
        self, path: Path, join: Join, changed: Callable[[Identity], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        """``changed`` hears of each identity that is to be used from now on. ``clock`` gives Unix seconds."""
        assert join.workload_api is not None
        self._path = path
        self._spiffe_id = join.spiffe_id
        self._api = join.workload_api
        self._changed = changed
        self._clock = clock
        self._renewed = asyncio.Event()
        self.current: Identity | None = None

    def restore(self) -> bool:
        """Take what is on disk. Whether it is valid; an expired one is not used."""
        found = load(self._path, self._spiffe_id)
        if found is None or not found.valid(self._clock()):
            return False
        self.current = found
        self._changed(found)
        return True

    def trusted(self, bundle_pem: str) -> None:
        """The API says itself which roots are trusted."""

    async def run(self) -> None:
        """Listen to the API for ever."""
        await first(self._listen(), self._say_expired())

    async def _listen(self) -> None:
        backoff = Backoff(FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS)
        while True:
            try:
                async with aclosing(answers(self._api.target)) as following:
                    async for answer in following:
                        backoff.reset()
                        await self._take(answer)
            except EndpointError as error:
                seconds = backoff.next_seconds()
                reason = f"{error}; {how_to_register(self._spiffe_id)}" if error.refused else str(error)
                (_log.error if error.refused else _log.warning)(
                    "no identity from the Workload API target=%s again_in_seconds=%.1f reason=%r", self._api.target, seconds, reason
                )
                await asyncio.sleep(seconds)

    async def _take(self, answer: bytes) -> None:
        """Use what the answer holds for this sidecar, where it is something new."""
        identity = await self._read(answer)
        if isinstance(identity, str):
            _log.error("the Workload API's answer is of no use target=%s reason=%r", self._api.target, identity)
            return
        if identity == self.current:
            return
        try:
            await asyncio.to_thread(save, self._path, identity)
        except IdentityError as error:
            _log.error("identity not on disk, a restart needs the Workload API reason=%r", str(error))
        self.current = identity
        self._renewed.set()
        self._changed(identity)
        _log.info("identity from the Workload API id=%s not_after=%d", identity.spiffe_id, identity.not_after_seconds)

    async def _read(self, answer: bytes) -> Identity | str:
        """The identity in an answer, or why there is none that can be used."""
        try:
            body = await asyncio.to_thread(run_apart, "svid", (self._spiffe_id, self._api.hint), answer)
            written = msgspec.json.decode(body, type=_Written)
        except ApartError as error:
            return f"it cannot be read: {error}"
        except msgspec.DecodeError:
            # The decoder's words could hold a part of the key.
            return "it cannot be read: the program that does wrote something else"
        if written.reason:
            return written.reason
        if not self._clock() < written.not_after_seconds:
            return f"{written.spiffe_id} ended at {written.not_after_seconds}; look at this machine's clock"
        return Identity(
            written.spiffe_id, written.key_pem, written.chain_pem, written.bundle_pem,
            written.not_before_seconds, written.not_after_seconds,
        )  # fmt: skip

    async def _say_expired(self) -> None:
        """Once for each that ends without another; awake at least once a minute, as a machine may sleep."""
        said = ""
        while True:
            current, now = self.current, self._clock()
            if current is not None and not current.valid(now) and said != current.version:
                said = current.version
                _log.error(
                    "identity expired id=%s not_after=%d: peers refuse it, nothing passes; needs the Workload API at %s",
                    current.spiffe_id, current.not_after_seconds, self._api.target,
                )  # fmt: skip
            left = 0 if current is None else current.not_after_seconds - now
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_SECONDS) if left > 0 else _LOOK_SECONDS):
                    await self._renewed.wait()
            self._renewed.clear()
