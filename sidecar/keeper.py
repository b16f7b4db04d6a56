"""Has an identity at hand: from disk, by a token, by renewal in time. Never opens a connection and never signs.

While the mesh's authority is rotated, the control plane gives Envoy other roots at each step. An identity that came with others
than Envoy has is renewed soon, and so is of the authority that signs now, with the roots that are trusted now.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sidecar.backoff import Backoff
from sidecar.identity import Identity, IdentityError, load, save
from sidecar.issuing import Certifier, Issued, Refused, Unreachable, new_key
from sidecar.join import Join, SettingsError, read_join
from sidecar.podjoin import read_token

#: A refusal does not mend itself; asking again is only for what a person changes meanwhile.
REFUSED_RETRY_SECONDS = 30.0
#: All sidecars hear of other roots at once, and renew within so long, or a tenth of what is left of their certificate.
SPREAD_SECONDS = 30.0
#: Control planes that share an authority hear of a step one after the other: who asked the wrong one asks again.
_AGAIN_FIRST_SECONDS, _AGAIN_MOST_SECONDS = 4.0, 300.0
_log = logging.getLogger("picket.identity")


class IdentityKeeper:
    """Has an identity at hand: from disk, by the join token, by renewal."""

    def __init__(
        self,
        path: Path,
        join: Join,
        certifier: Certifier,
        changed: Callable[[Identity], None],
        *,
        join_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``changed`` hears of each identity that is to be used from now on. ``clock`` gives Unix seconds."""
        self._path = path
        self._join = join
        self._join_file = join_file
        self._certifier = certifier
        self._changed = changed
        self._clock = clock
        self._random = random.SystemRandom()
        self._renewal = 0.0
        self._roots = ""
        self._again = Backoff(_AGAIN_FIRST_SECONDS, _AGAIN_MOST_SECONDS)
        self._sooner = asyncio.Event()
        self.current: Identity | None = None

    def restore(self) -> bool:
        """Take what is on disk. Whether it is valid; an expired one is not used, and that is said."""
        found = load(self._path, self._join.spiffe_id)
        if found is None:
            return False
        if not found.valid(self._clock()):
            self.current = found
            self._say_expired(found)
            return False
        self._use(found, found.not_before_seconds)
        return True

    def trusted(self, bundle_pem: str) -> None:
        """Renew soon where the identity came with other roots."""
        if bundle_pem == self._roots:
            return
        self._roots = bundle_pem
        self._again.reset()
        current = self.current
        if current is None or bundle_pem == current.bundle_pem:
            return
        left_seconds = max(current.not_after_seconds - self._clock(), 0.0)
        self._renew_in(min(SPREAD_SECONDS, left_seconds / 10) * self._random.random())
        _log.info("roots changed, certificate is renewed soon in_seconds=%.0f", self._renewal - self._clock())

    def _renew_in(self, seconds: float) -> None:
        self._renewal = min(self._renewal, self._clock() + seconds)
        self._sooner.set()

    async def run(self) -> None:
        """Enroll if need be, then renew for ever.

        Raises:
            IdentityError: there never was an identity, and the control plane refuses to give one.
        """
        backoff = Backoff()
        while True:
            current = self.current
            now = self._clock()
            if current is not None and current.valid(now) and now < self._renewal:
                # Awake at least once a minute: a machine that slept must notice that its time is up.
                self._sooner.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(self._renewal - now, 60.0)):
                        await self._sooner.wait()
                continue
            answer = await self._ask(current if current is not None and current.valid(now) else None)
            if isinstance(answer, Identity):
                backoff.reset()
                continue
            if current is not None and not current.valid(self._clock()):
                self._say_expired(current)
            if isinstance(answer, Unreachable):
                _log.warning("no certificate yet reason=%r", answer.reason)
                await asyncio.sleep(backoff.next_seconds())
                continue
            if current is None:
                raise IdentityError(answer.reason)
            _log.error("certificate refused reason=%r", answer.reason)
            await asyncio.sleep(REFUSED_RETRY_SECONDS)

    async def _ask(self, valid: Identity | None) -> Identity | Unreachable | Refused:
        """One try: a pod's token each time; elsewhere renewal where there is a valid identity, enrollment otherwise."""
        if self._join.token_file is not None:
            valid = None
        token = "" if valid is not None else self._token()
        if valid is None and not token:
            return Refused(self._no_token())
        try:
            key_pem, csr = await asyncio.to_thread(new_key)
        except IdentityError as error:
            return Unreachable(str(error))  # a machine out of memory, say: what is there stays good meanwhile
        if valid is not None:
            answer = await self._certifier.renew(valid, csr)
        elif self._join.token_file is not None:
            answer = await self._certifier.attest(token, csr)
        else:
            answer = await self._certifier.enroll(token, csr)
        if not isinstance(answer, Issued):
            return answer
        if answer.spiffe_id != self._join.spiffe_id:
            return Refused(f"the control plane issued {answer.spiffe_id[:300]}, and the join file is for {self._join.spiffe_id}")
        if not answer.not_before_seconds < answer.not_after_seconds:
            return Refused("the control plane issued a certificate without a lifetime")
        identity = Identity(
            answer.spiffe_id,
            key_pem,
            answer.chain_pem.decode("ascii", "replace"),
            answer.bundle_pem.decode("ascii", "replace"),
            answer.not_before_seconds,
            answer.not_after_seconds,
        )
        try:
            await asyncio.to_thread(save, self._path, identity)
        except IdentityError as error:
            _log.error("identity not on disk, a restart will need a new token reason=%r", str(error))
        # From now on, not from its beginning, which the authority dates back.
        self._use(identity, self._clock())
        how = "renew" if valid is not None else "enroll"
        _log.info("certificate issued how=%s id=%s not_after=%d", how, identity.spiffe_id, identity.not_after_seconds)
        return identity

    def _token(self) -> str:
        """The token; its file is read again, because a person, or the kubelet, may have put a new one there."""
        if self._join.token_file is not None:
            try:
                return read_token(self._join.token_file)
            except SettingsError as error:
                _log.warning("token not read reason=%r", str(error))
                return ""
        if self._join_file is None:
            return self._join.token
        try:
            return read_join(self._join_file)[0].token
        except SettingsError as error:
            _log.warning("join file not read again reason=%r", str(error))
            return self._join.token

    def _no_token(self) -> str:
        if self._join.token_file is not None:
            return f"there is no service-account token in {self._join.token_file}; is the volume projected?"
        return f"there is no join token; make one with `picket token {self._join.workload}` and put it into the join file"

    def _use(self, identity: Identity, since_seconds: float) -> None:
        self.current = identity
        self._renewal = identity.renewal_seconds(since_seconds, self._random.random())
        if self._roots and identity.bundle_pem != self._roots:
            self._renew_in(self._again.next_seconds())
        self._changed(identity)

    def _say_expired(self, identity: Identity) -> None:
        _log.error(
            "identity expired id=%s not_after=%d: peers refuse it, nothing passes; needs the control plane and, in %s, a token "
            "that is good (where it is a join file: picket token %s)",
            identity.spiffe_id, identity.not_after_seconds, self._join.token_file or self._join_file or "the join file",
            self._join.workload,
        )  # fmt: skip
