"""The keeper: an identity from disk, by the token, by renewal; never lost while it is good, never used when it is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.identity.authority import Issuer, Svid, load_or_create
from controlplane.identity.generations import Generations, activate, first_generation, prepare
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.spiffe import WorkloadId
from sidecar import keeper as keeper_module
from sidecar.identity import Identity, IdentityError, load, save
from sidecar.issuing import Answer, Issued, Refused, Unreachable, new_key
from sidecar.join import read_join
from sidecar.keeper import IdentityKeeper
from tests.sidecar.joins import write_join
from tests.sidecar.test_identity import CART, made


@dataclass
class Signer:
    """The control plane's part, with its real authority. ``answers`` come first; ``asked`` remembers who asked with what."""

    authority: Issuer
    lifetime: timedelta = timedelta(hours=1)
    workload: WorkloadId = field(default_factory=lambda: WorkloadId("shop", "cart"))
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    signed: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def enroll(self, token: str, csr_der: bytes) -> Answer:
        return self._answer("enroll", token, csr_der)

    async def attest(self, token: str, csr_der: bytes) -> Answer:
        return self._answer("attest", token, csr_der)

    async def renew(self, identity: Identity, csr_der: bytes) -> Answer:
        return self._answer("renew", identity.spiffe_id, csr_der)

    def _answer(self, how: str, proof: str, csr_der: bytes) -> Answer:
        self.asked.append((how, proof))
        self.changed.set()
        if self.answers:
            return self.answers.pop(0)
        svid = self.authority.sign(csr_der, self.workload, self.lifetime, datetime.now(UTC))
        assert isinstance(svid, Svid)
        self.signed += 1
        return Issued(
            svid.spiffe_id, svid.chain_pem, self.authority.bundle_pem,
            int(svid.not_before.timestamp()), int(svid.not_after.timestamp()),
        )  # fmt: skip

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(load_or_create(tmp_path / "ca", "picket.test"))


class Used(list[Identity]):
    """Every identity that was to be used, in order."""


def keeper(tmp_path: Path, signer: Signer, used: Used, **options: object) -> IdentityKeeper:
    join_file = tmp_path / "join.json"
    if not join_file.exists():
        write_join(join_file)

    def changed(identity: Identity) -> None:
        used.append(identity)
        signer.changed.set()

    return IdentityKeeper(
        tmp_path / "identity.json",
        read_join(join_file)[0],
        signer,
        changed,
        join_file=join_file,
        **options,  # type: ignore[arg-type]  # a clock
    )


async def run_until(keeping: IdentityKeeper, signer: Signer, condition: Callable[[], bool]) -> None:
    """Run a keeper until something is so; what it raises is raised."""
    running = asyncio.create_task(keeping.run())
    waiting = asyncio.create_task(signer.until(condition))
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, waiting):
        task.cancel()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def test_the_first_identity_is_had_by_the_join_token_and_kept(tmp_path: Path, signer: Signer) -> None:
    used = Used()
    keeping = keeper(tmp_path, signer, used)
    assert not keeping.restore()
    await run_until(keeping, signer, lambda: bool(used))
    assert signer.asked == [("enroll", "a-join-token")]
    assert used[0].spiffe_id == CART
    assert load(tmp_path / "identity.json", CART) == used[0] == keeping.current


async def test_a_restart_takes_what_is_on_disk_and_asks_nobody(tmp_path: Path, signer: Signer) -> None:
    used = Used()
    await run_until(keeper(tmp_path, signer, used), signer, lambda: bool(used))
    again = Used()
    keeping = keeper(tmp_path, signer, again)
    assert keeping.restore()
    running = asyncio.create_task(keeping.run())
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    assert again == used
    assert signer.signed == 1


async def test_a_certificate_of_the_shortest_life_is_renewed_by_its_own_proof_in_time_and_not_in_haste(
    tmp_path: Path, signer: Signer
) -> None:
    """The authority dates certificates back by a minute: counted from there, one of 30 seconds would be late at once."""
    signer.lifetime = timedelta(seconds=30)
    now = datetime.now(UTC).timestamp()
    used, ticks = Used(), iter(range(10_000))
    keeping = keeper(tmp_path, signer, used, clock=lambda: now + next(ticks) / 1000)
    await run_until(keeping, signer, lambda: bool(used))
    assert now + 14 < keeping._renewal < now + 21
    assert signer.asked == [("enroll", "a-join-token")]
    now += 21
    await run_until(keeping, signer, lambda: len(used) == 2)
    assert signer.asked[1:] == [("renew", CART)]
    assert used[1].key_pem != used[0].key_pem


async def test_an_expired_identity_is_not_used_and_needs_a_token_again(
    tmp_path: Path, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "identity.json", made())
    used = Used()
    keeping = keeper(tmp_path, signer, used)
    assert not keeping.restore()
    assert used == []
    assert "picket token shop/cart" in caplog.text
    await run_until(keeping, signer, lambda: bool(used))
    assert signer.asked == [("enroll", "a-join-token")]


async def test_a_control_plane_that_is_away_is_asked_again(tmp_path: Path, signer: Signer) -> None:
    signer.answers = [Unreachable("away"), Unreachable("away")]
    used = Used()
    await run_until(keeper(tmp_path, signer, used), signer, lambda: bool(used))
    assert len(signer.asked) == 3


async def test_a_refusal_without_any_identity_is_the_end(tmp_path: Path, signer: Signer) -> None:
    signer.answers = [Refused("the join token is used")]
    with pytest.raises(IdentityError, match="the join token is used"):
        await run_until(keeper(tmp_path, signer, Used()), signer, lambda: False)


async def test_without_token_and_identity_the_way_out_is_told(tmp_path: Path, signer: Signer) -> None:
    write_join(tmp_path / "join.json", token="")
    with pytest.raises(IdentityError, match="picket token shop/cart"):
        await run_until(keeper(tmp_path, signer, Used()), signer, lambda: False)
    assert signer.asked == []


@pytest.mark.parametrize("wrong", ["workload", "lifetime"])
async def test_a_certificate_for_somebody_else_or_without_a_lifetime_is_not_taken(
    tmp_path: Path, signer: Signer, wrong: str
) -> None:
    if wrong == "workload":
        signer.workload = WorkloadId("shop", "web")
    else:
        signer.answers = [Issued(CART, b"CHAIN", b"BUNDLE", 2000, 2000)]
    used = Used()
    with pytest.raises(IdentityError, match=r"sa/web|lifetime"):
        await run_until(keeper(tmp_path, signer, used), signer, lambda: False)
    assert used == []
    assert not (tmp_path / "identity.json").exists()


async def test_while_the_old_one_is_good_a_refused_renewal_ends_nothing(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "REFUSED_RETRY_SECONDS", 0.01)
    used = Used()
    keeping = keeper(tmp_path, signer, used)
    await run_until(keeping, signer, lambda: bool(used))
    keeping._renewal = 0
    signer.answers = [Refused("not now")]
    await run_until(keeping, signer, lambda: len(used) == 2)
    assert [how for how, _ in signer.asked] == ["enroll", "renew", "renew"]


async def test_a_key_that_could_not_be_made_ends_nothing(tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key program is started anew each time, and a machine can be short of memory for a while."""
    failures = [IdentityError("no key could be made")]

    def sometimes() -> tuple[str, bytes]:
        if failures:
            raise failures.pop()
        return new_key()

    monkeypatch.setattr(keeper_module, "new_key", sometimes)
    used = Used()
    await run_until(keeper(tmp_path, signer, used), signer, lambda: bool(used))


async def test_a_token_that_was_put_into_the_join_file_later_is_found(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "REFUSED_RETRY_SECONDS", 0.01)
    save(tmp_path / "identity.json", made())
    used = Used()
    write_join(tmp_path / "join.json", token="")
    keeping = keeper(tmp_path, signer, used)
    keeping.restore()
    running = asyncio.create_task(run_until(keeping, signer, lambda: bool(used)))
    await asyncio.sleep(0.05)
    assert signer.asked == []
    write_join(tmp_path / "join.json", token="new-token")
    await running
    assert signer.asked == [("enroll", "new-token")]


async def test_a_disk_that_is_full_does_not_keep_the_identity_from_being_used(
    tmp_path: Path, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "identity.json").mkdir()
    used = Used()
    keeping = keeper(tmp_path, signer, used)
    assert not keeping.restore()
    await run_until(keeping, signer, lambda: bool(used))
    assert "a restart will need a new token" in caplog.text


def turned(authority: MeshAuthority) -> MeshAuthority:
    """The same in the next step of a rotation."""
    now, before = datetime.now(UTC), authority.generations
    after = prepare(before, now, timedelta(days=365)) if before.prepared is None else activate(before, now)
    assert isinstance(after, Generations)
    return MeshAuthority(after)


@pytest.fixture
def rotating(tmp_path: Path) -> MeshAuthority:
    return MeshAuthority(first_generation(load_or_create(tmp_path / "ca", "picket.test")))


async def test_other_roots_bring_the_renewal_forward_and_the_same_again_do_not(
    tmp_path: Path, rotating: MeshAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step of a rotation, so that soon everybody has a certificate of who signs and the roots that are trusted."""
    monkeypatch.setattr(keeper_module, "SPREAD_SECONDS", 0.01)
    signer, used = Signer(rotating), Used()
    keeping = keeper(tmp_path, signer, used)
    await run_until(keeping, signer, lambda: bool(used))
    keeping.trusted(rotating.bundle_pem.decode())
    assert keeping._renewal > datetime.now(UTC).timestamp() + 1000
    for _ in range(2):
        signer.authority = rotating = turned(rotating)
        had = len(used)
        keeping.trusted(rotating.bundle_pem.decode())
        await run_until(keeping, signer, lambda: len(used) > had)  # noqa: B023  # it is over before there is another
        assert used[-1].bundle_pem == rotating.bundle_pem.decode()
        assert keeping._renewal > datetime.now(UTC).timestamp() + 1000
    assert [how for how, _ in signer.asked] == ["enroll", "renew", "renew"]
    assert load(tmp_path / "identity.json", CART) == used[-1]


async def test_all_sidecars_hear_at_once_and_renew_over_a_time(tmp_path: Path, rotating: MeshAuthority) -> None:
    signer, used = Signer(rotating), Used()
    keeping = keeper(tmp_path, signer, used)
    await run_until(keeping, signer, lambda: bool(used))
    waits = set()
    for number in range(20):
        keeping._renewal = used[0].not_after_seconds
        keeping.trusted(f"roots {number}")
        waits.add(round(keeping._renewal - datetime.now(UTC).timestamp(), 3))
    assert min(waits) > -1
    assert max(waits) <= keeper_module.SPREAD_SECONDS
    assert len(waits) > 15


async def test_who_asked_a_control_plane_that_has_not_heard_of_a_step_asks_again(
    tmp_path: Path, rotating: MeshAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "SPREAD_SECONDS", 0.01)
    signer, used = Signer(rotating), Used()
    keeping = keeper(tmp_path, signer, used)
    keeping._again.first_seconds = 0.01
    await run_until(keeping, signer, lambda: bool(used))
    ahead = turned(rotating)
    keeping.trusted(ahead.bundle_pem.decode())
    await run_until(keeping, signer, lambda: len(used) == 3)
    assert {identity.bundle_pem for identity in used} == {rotating.bundle_pem.decode()}
    signer.authority = ahead
    await run_until(keeping, signer, lambda: used[-1].bundle_pem == ahead.bundle_pem.decode())
    assert keeping._renewal > datetime.now(UTC).timestamp() + 1000
