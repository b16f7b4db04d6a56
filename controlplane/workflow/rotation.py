"""Takes the steps of the authority's rotation when they are due or asked for, and follows those that other control planes take.

Where the authority is kept is the source of truth: of several that take a step at once one does, and the others see it. Never takes
a step that was not written down first: a crash leaves the step before, or this one.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from controlplane.identity.authority import AuthorityError
from controlplane.identity.cacertificates import is_own
from controlplane.identity.custody import Custody, CustodyError, Kept, Overtaken
from controlplane.identity.generations import (
    Generations,
    Impossible,
    Prepared,
    Step,
    activate,
    covering,
    fingerprint,
    key_id,
    prepare,
    replaced,
    retire,
)
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.schedule import Due, Seen, Terms, Waits, due, hindrance
from controlplane.store.interface import Store, StoreError
from controlplane.workflow.revisions import Refused, Why, as_json

#: Less than `identity.generations.NOTICE`: within that each control plane has seen a step.
LOOK_SECONDS = 10.0
MAX_REASON_CHARACTERS = 500
#: Of sidecars that a step waits for, so many are named.
MAX_NAMED = 20
_PICKET = "picket"
_log = structlog.get_logger("picket.authority")


@dataclass(frozen=True, slots=True)
class Rotated:
    """The authority as it is now, what is next, and whether somebody else rotates it (``keeper``)."""

    generations: Generations
    next: Due | Waits
    seen: Seen
    keeper: str


class Rotation:
    """One control plane's part in it. `begin` it, then let `run` go on beside the server; `take` comes from people."""

    def __init__(
        self, custody: Custody, kept: Kept, authority: MeshAuthority, store: Store, terms: Terms, signed_for: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC), *, alone: str = "",
    ) -> None:  # fmt: skip
        """``signed_for`` is how long certificates that this control plane signs are valid.

        ``alone`` is why no step may be taken here, because others would not see it; empty where they may.
        """
        self._custody = custody
        self._kept = kept
        self._authority = authority
        self._store = store
        self._terms = terms
        self._signed_for = signed_for
        self._clock = clock
        self._alone = alone
        self._lock = asyncio.Lock()
        self._untold: list[tuple[str, str, str, str, int]] = []  # audit events that are not stored yet
        self._failed = ""

    def state(self) -> Rotated:
        """How things stand. From any thread.

        Raises:
            StoreError: what is known of sidecars cannot be read.
        """
        generations, seen = self._kept.generations, self._seen()
        return Rotated(generations, self._due(seen), seen, self._kept.keeper)

    async def run(self) -> None:
        """Look, and do what is due, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Follow what others did, and take the step that is due. A failure is logged and tried again."""
        try:
            async with self._lock:
                await self._follow()
                seen = await asyncio.to_thread(self._seen)
                if isinstance(wanted := self._due(seen), Due):
                    await self._take(wanted.step, _PICKET, "", forced=False)
                await self._tell()
        except (CustodyError, AuthorityError, StoreError) as error:
            if str(error) != self._failed:
                _log.error("authority not looked after", error=str(error))
            self._failed = str(error)
        else:
            self._failed = ""

    async def take(self, step: Step, actor: str, reason: str, *, now: bool) -> Rotated | Refused:
        """Take a step because somebody asks for it; ``now`` also where something speaks against it, and with a reason."""
        if now and not reason.strip():
            return Refused("a step that does not wait wants a reason", Why.INVALID)
        if len(reason) > MAX_REASON_CHARACTERS:
            return Refused(f"reason: at most {MAX_REASON_CHARACTERS} characters", Why.INVALID)
        try:
            async with self._lock:
                await self._follow()
                refused = await self._refusal(step, now=now)
                if refused is not None or (refused := await self._take(step, actor, reason, forced=now)) is not None:
                    return refused
                await self._tell()
                return await asyncio.to_thread(self.state)
        except (CustodyError, AuthorityError) as error:
            return Refused(str(error), Why.CONFLICT)

    # -- one at a time -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Take over what is kept; complete it where an older version, or somebody else, wrote it."""
        kept = await self._custody.load()
        wanted = kept.generations if kept.complete else self._merged(kept)
        if wanted is None:
            await self._use(self._overlapping(kept))
            return
        wanted = covering(wanted, self._signed_for)
        if not kept.complete or wanted != kept.generations:
            saved = await self._custody.save(wanted, kept)
            if isinstance(saved, Overtaken):
                return  # seen at the next look
            kept = saved
        await self._use(kept)

    def _merged(self, kept: Kept) -> Generations | None:
        """What was known, where what is kept lacks it: a Secret that something else synchronises, say. Nothing for another key."""
        ours, theirs = self._kept.generations, kept.generations.active
        same = key_id(theirs.certificate) == key_id(ours.active.certificate)
        return replaced(ours, theirs, self._clock()) if same else None

    def _overlapping(self, kept: Kept) -> Kept:
        """What somebody else put in place of our authority, as one that is prepared: it signs once everybody trusts it, as always.

        For that the key of before is needed, which is here and nowhere else any more: who starts now signs by the new one at once.
        """
        ours, found = self._kept.generations, kept.generations.active
        prepared = ours.prepared
        if prepared is None or prepared.authority.certificate != found.certificate:
            prepared = Prepared(found, self._clock())
        return replace(kept, generations=replace(ours, prepared=prepared))

    async def _use(self, kept: Kept) -> None:
        before, self._kept = self._kept.generations, kept
        if kept.generations.bundle_pem != before.bundle_pem:
            _log.info("authority changed", signing=key_id(kept.generations.active.certificate), roots=len(kept.generations.roots))
        await asyncio.to_thread(self._authority.replace, kept.generations)  # who hears of it may wait

    def _due(self, seen: Seen) -> Due | Waits:
        generations = self._kept.generations
        step = generations.next_step
        if self._alone:
            return Waits(step, self._alone, None)
        if self._kept.keeper and step is Step.PREPARE:
            return Waits(step, f"{self._kept.keeper} does that", None)
        if step is Step.PREPARE and not is_own(generations.active.certificate, generations.active.trust_domain):
            return Waits(step, "somebody else made this authority, so it is replaced only when somebody asks", None)
        return due(generations, self._terms, seen, self._clock())

    async def _refusal(self, step: Step, *, now: bool) -> Refused | None:
        """Why somebody cannot have a step."""
        generations = self._kept.generations
        if self._alone:
            return Refused(self._alone, Why.CONFLICT)
        if self._kept.keeper and step is Step.PREPARE:
            return Refused(f"{self._kept.keeper} makes this mesh's authorities; renew the certificate there", Why.CONFLICT)
        allowed = {generations.next_step} | ({Step.PREPARE} if generations.prepared is None else set())
        if step not in allowed:
            return Refused(f"the next step is {generations.next_step}, not {step}", Why.CONFLICT)
        seen = await asyncio.to_thread(self._seen)
        if not now and (reason := hindrance(generations, step, seen)):
            return Refused(f"{reason}; wait, or say with a reason that it is to be now", Why.CONFLICT)
        return None

    async def _take(self, step: Step, actor: str, reason: str, *, forced: bool) -> Refused | None:
        """Write a step down, then act by it."""
        before, now = self._kept, self._clock()
        after = _after(step, before.generations, now, self._terms.lifetime)
        if isinstance(after, Impossible):
            return Refused(after.reason, Why.CONFLICT)
        saved = await self._custody.save(after, before)
        if isinstance(saved, Overtaken):
            return Refused("another control plane changed the authority meanwhile; look at it and try again", Why.CONFLICT)
        detail: dict[str, object] = {
            "roots": [key_id(root) for root in after.roots], "signing": key_id(after.active.certificate), "reason": reason,
            "forced": forced,
        }  # fmt: skip
        subject = _subject(step, before.generations, after)
        self._untold.append((actor, f"authority:{step}", subject, as_json(detail), int(now.timestamp() * 1000)))
        _log.info("authority rotated", step=str(step), authority=subject, actor=actor)
        await self._use(saved)
        return None

    async def _tell(self) -> None:
        """Write audit events. A database that is away holds no step up: they are kept until it is back."""
        while self._untold:
            try:
                await asyncio.to_thread(self._write, self._untold[0])
            except StoreError as error:
                _log.error("rotation not in the audit log yet", error=str(error))
                return
            del self._untold[0]

    def _write(self, event: tuple[str, str, str, str, int]) -> None:
        with self._store.transaction() as transaction:
            transaction.add_audit(*event)

    def _seen(self) -> Seen:
        """What sidecars have; they are not looked at while there is nothing to wait for."""
        generations = self._kept.generations
        if generations.next_step is Step.PREPARE:
            return Seen()
        bundle, now = fingerprint(generations.bundle_pem), self._clock()
        # Of one that is away only its word is known of when its certificate ends: it counts for no longer than one can last.
        until = max((old.signed_until for old in generations.old), default=now)
        now_ms = now.timestamp() * 1000 if now < until else math.inf
        rows = self._store.sidecars()
        connected = [row for row in rows if row.connected]
        valid = [row for row in rows if row.issuer and (row.connected or (row.certificate_not_after_ms or 0) > now_ms)]
        outdated = [row for row in connected if row.bundle != bundle]
        if generations.next_step is Step.RETIRE:
            oldest = key_id(generations.old[-1].certificate)
            late = [row for row in valid if row.issuer == oldest]
        else:
            late = outdated
        names = tuple(f"{row.workload} {row.instance}" for row in late[:MAX_NAMED])
        return Seen(len(connected), len(outdated), Counter(row.issuer for row in valid), names)


def _after(step: Step, generations: Generations, now: datetime, lifetime: timedelta) -> Generations | Impossible:
    match step:
        case Step.PREPARE:
            return prepare(generations, now, lifetime)
        case Step.ACTIVATE:
            return activate(generations, now)
        case Step.RETIRE:
            return retire(generations)


def _subject(step: Step, before: Generations, after: Generations) -> str:
    """The authority that a step is about."""
    if step is Step.PREPARE and after.prepared is not None:
        return key_id(after.prepared.authority.certificate)
    return key_id(before.old[-1].certificate) if step is Step.RETIRE else key_id(after.active.certificate)
