"""The rotation as control planes drive it: by themselves and by hand, together on one authority, told in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from controlplane.identity.authority import private_pem
from controlplane.identity.custody import Custody, Kept, Overtaken
from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import Generations, Step, fingerprint, key_id
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.schedule import Terms, Waits
from controlplane.store.interface import Store, StoreError, Transaction
from controlplane.store.stored import SidecarRow
from controlplane.workflow.revisions import Refused, Why
from controlplane.workflow.rotation import Rotated, Rotation
from tests.harness.authorities import older_authority

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TERMS = Terms(lifetime=365 * DAY, lead=30 * DAY, overlap=DAY)


@dataclass
class Clock:
    """One that everybody has."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Part:
    """One control plane's part."""

    rotation: Rotation
    authority: MeshAuthority

    @property
    def ids(self) -> list[str]:
        return [key_id(root) for root in self.authority.generations.roots]


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def part(
    directory: Path, store: Store, clock: Clock, wrap: Callable[[Custody], Custody] = lambda c: c, alone: str = ""
) -> Part:
    custody = wrap(AuthorityDirectory(directory / "ca", "picket.test", TERMS.lifetime, clock))
    kept = await custody.load()
    authority = MeshAuthority(kept.generations)
    return Part(Rotation(custody, kept, authority, store, TERMS, HOUR, clock, alone=alone), authority)


def connect(
    store: Store, part: Part, name: str, *, bundle: str | None = None, issuer: str | None = None, away: bool = False
) -> None:
    """A sidecar that trusts all roots of now and shows a certificate of who signs now, unless it is said."""
    row = SidecarRow(
        "shop/cart", name, connected=True, bundle=fingerprint(part.authority.bundle_pem) if bundle is None else bundle,
        issuer=part.ids[0] if issuer is None else issuer,
    )  # fmt: skip
    with store.transaction() as transaction:
        transaction.save_sidecars([row])


def told(store: Store) -> list[tuple[str, str]]:
    return [(event.actor, event.action) for event in reversed(store.audit(20))]


async def test_it_rotates_by_itself_before_the_authority_ends(tmp_path: Path, store: Store, clock: Clock) -> None:
    """Each step waits: for its time, for sidecars, for what was signed."""
    plane = await part(tmp_path, store, clock)
    connect(store, plane, "a")
    await plane.rotation.look()
    (first,) = plane.ids
    clock.now += TERMS.lifetime - TERMS.lead
    await plane.rotation.look()
    assert plane.ids[0] == first
    second = plane.ids[1]

    clock.now += TERMS.settle
    await plane.rotation.look()
    assert plane.ids == [first, second]  # the sidecar did not take the new root yet
    connect(store, plane, "a")
    await plane.rotation.look()
    assert plane.ids == [second, first]

    clock.now += HOUR + 2 * TERMS.settle
    await plane.rotation.look()
    assert plane.ids == [second, first]  # it shows a certificate of the old one
    connect(store, plane, "a")
    await plane.rotation.look()
    assert plane.ids == [second]
    assert told(store) == [("picket", f"authority:{step}") for step in Step]


async def test_every_step_is_told_with_its_authority_and_reason(tmp_path: Path, store: Store, clock: Clock) -> None:
    plane = await part(tmp_path, store, clock)
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "the key was on a laptop", now=False), Rotated)
    (event,) = store.audit(5)
    assert (event.actor, event.action, event.subject) == ("alice", "authority:prepare", plane.ids[1])
    assert msgspec.json.decode(event.detail) == {
        "roots": plane.ids, "signing": plane.ids[0], "reason": "the key was on a laptop", "forced": False,
    }  # fmt: skip


async def test_a_step_that_would_cut_sidecars_off_wants_a_reason(tmp_path: Path, store: Store, clock: Clock) -> None:
    plane = await part(tmp_path, store, clock)
    connect(store, plane, "late", bundle="other")
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "", now=False), Rotated)
    for step, why in (
        (Step.ACTIVATE, "lack the new root: 1 of 1"),
        (Step.RETIRE, "still have a certificate of the old root: 1"),
    ):
        refused = await plane.rotation.take(step, "alice", "", now=False)
        assert isinstance(refused, Refused)
        assert why in refused.reason
        assert await plane.rotation.take(step, "alice", " ", now=True) == Refused(
            "a step that does not wait wants a reason", Why.INVALID
        )
        assert isinstance(await plane.rotation.take(step, "alice", "leaked", now=True), Rotated)
        connect(store, plane, "late", bundle="other", issuer=plane.ids[-1])
    assert msgspec.json.decode(store.audit(1)[0].detail)["forced"] is True


async def test_a_sidecar_that_is_away_with_a_certificate_that_is_valid_is_not_forgotten(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    plane = await part(tmp_path, store, clock)
    await plane.rotation.take(Step.PREPARE, "alice", "", now=False)
    await plane.rotation.take(Step.ACTIVATE, "alice", "", now=False)
    until_ms = int((clock.now + HOUR).timestamp() * 1000)
    row = SidecarRow("shop/cart", "away", certificate_not_after_ms=until_ms, issuer=plane.ids[1])
    with store.transaction() as transaction:
        transaction.save_sidecars([row])
    assert isinstance(await plane.rotation.take(Step.RETIRE, "alice", "", now=False), Refused)
    assert plane.rotation.state().seen.late == ("shop/cart away",)
    with store.transaction() as transaction:
        transaction.save_sidecars([replace(row, certificate_not_after_ms=until_ms * 2)])  # whatever it says of itself
    clock.now += 2 * HOUR
    assert isinstance(await plane.rotation.take(Step.RETIRE, "alice", "", now=False), Rotated)


async def test_steps_out_of_turn_are_refused(tmp_path: Path, store: Store, clock: Clock) -> None:
    plane = await part(tmp_path, store, clock)
    for step in (Step.ACTIVATE, Step.RETIRE):
        assert isinstance(await plane.rotation.take(step, "alice", "because", now=True), Refused)
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "x" * 501, now=False), Refused)
    assert told(store) == []


async def test_two_control_planes_take_each_step_once_and_agree(tmp_path: Path, store: Store, clock: Clock) -> None:
    one, two = await part(tmp_path, store, clock), await part(tmp_path, store, clock)
    heard: list[bytes] = []
    two.authority.connect(lambda: heard.append(two.authority.bundle_pem))
    clock.now += TERMS.lifetime - TERMS.lead
    for _ in Step:
        for each in (one, two, one):
            await each.rotation.look()
        assert one.ids == two.ids
        assert heard[-1] == one.authority.bundle_pem
        clock.now += HOUR + 2 * TERMS.settle
    assert len(one.ids) == 1
    assert told(store) == [("picket", f"authority:{step}") for step in Step]


@dataclass
class Overtaking:
    """Somebody else is always faster."""

    custody: Custody
    left: int

    async def load(self) -> Kept:
        return await self.custody.load()

    async def save(self, generations: Generations, before: Kept) -> Kept | Overtaken:
        if self.left:
            self.left -= 1
            return Overtaken()
        return await self.custody.save(generations, before)


async def test_who_is_overtaken_does_nothing_and_says_so(tmp_path: Path, store: Store, clock: Clock) -> None:
    await (await part(tmp_path, store, clock)).rotation.look()
    plane = await part(tmp_path, store, clock, lambda custody: Overtaking(custody, 1))
    refused = await plane.rotation.take(Step.PREPARE, "alice", "", now=False)
    assert isinstance(refused, Refused)
    assert "meanwhile" in refused.reason
    assert (len(plane.ids), told(store)) == (1, [])
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "", now=False), Rotated)


async def test_a_directory_that_is_away_changes_nothing(tmp_path: Path, store: Store, clock: Clock) -> None:
    plane = await part(tmp_path, store, clock)
    await plane.rotation.look()
    (tmp_path / "ca" / "authority.json").write_text("{")
    await plane.rotation.look()
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "", now=False), Refused)
    assert len(plane.ids) == 1


async def test_where_copies_of_the_authority_may_be_it_is_not_rotated(tmp_path: Path, store: Store, clock: Clock) -> None:
    plane = await part(tmp_path, store, clock, alone="copies")
    clock.now += TERMS.lifetime - TERMS.lead
    await plane.rotation.look()
    assert plane.rotation.state().next == Waits(Step.PREPARE, "copies", None)
    assert await plane.rotation.take(Step.PREPARE, "alice", "", now=False) == Refused("copies", Why.CONFLICT)


async def test_a_database_that_is_away_holds_no_step_up_and_hears_of_it_later(
    tmp_path: Path, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = await part(tmp_path, store, clock)

    def broken() -> AbstractContextManager[Transaction]:
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "transaction", broken)
        assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "", now=False), Rotated)
    assert told(store) == []
    await plane.rotation.look()
    assert told(store) == [("alice", "authority:prepare")]


async def test_an_authority_of_somebody_elses_making_is_replaced_only_when_somebody_asks(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    made = older_authority("picket.test", lifetime=5 * DAY)
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca.pem").write_bytes(made.bundle_pem)
    (tmp_path / "ca" / "ca.key").write_bytes(private_pem(made.key))
    plane = await part(tmp_path, store, clock)
    await plane.rotation.look()
    assert len(plane.ids) == 1
    waits = plane.rotation.state().next
    assert isinstance(waits, Waits)
    assert "somebody else" in waits.reason
    assert isinstance(await plane.rotation.take(Step.PREPARE, "alice", "", now=False), Rotated)
    assert len(plane.ids) == 2
