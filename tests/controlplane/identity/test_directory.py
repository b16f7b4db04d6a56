"""The authority in a directory: what older versions left is taken over, a crash in the middle of a step is nothing, two agree."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity import directory as module
from controlplane.identity.authority import AuthorityError, load_or_create, private_pem
from controlplane.identity.custody import CustodyError, Kept, Overtaken, decode, encode
from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import Generations, Impossible, activate, covering, prepare, retire
from tests.harness.authorities import older_authority

HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)


def at(path: Path) -> AuthorityDirectory:
    return AuthorityDirectory(path, "picket.test", YEAR)


async def load(path: Path) -> Kept:
    return await at(path).load()


async def save(path: Path, outcome: Generations | Impossible, before: Kept) -> Kept:
    assert isinstance(outcome, Generations)
    kept = await at(path).save(outcome, before)
    assert isinstance(kept, Kept)
    return kept


async def rotated(path: Path) -> Kept:
    """In the middle of a rotation: the new one signs, the old one is trusted."""
    kept = await load(path)
    now = datetime.now(UTC)
    kept = await save(path, prepare(covering(kept.generations, HOUR), now, YEAR), kept)
    return await save(path, activate(kept.generations, now), kept)


async def test_a_whole_rotation_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    first = await load(path)
    assert {file.name for file in path.iterdir()} == {"ca.pem", "ca.key"}
    active = await rotated(path)
    assert encode((await load(path)).generations) == encode(active.generations)
    assert (path / "ca.pem").read_bytes() == active.generations.active.bundle_pem
    done = await save(path, retire(active.generations), active)
    assert len(done.generations.roots) == 1
    assert first.generations.bundle_pem not in done.generations.bundle_pem
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}


async def test_what_an_older_version_left_goes_on_and_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    path.mkdir()
    older = older_authority("picket.test")
    (path / "ca.pem").write_bytes(b"# made by hand\n" + older.bundle_pem)
    (path / "ca.key").write_bytes(private_pem(older.key))
    kept = await load(path)
    assert (kept.complete, kept.generations.active.certificate) == (False, older.certificate)
    kept = await save(path, covering(kept.generations, HOUR), kept)
    assert (path / "ca.pem").read_bytes().startswith(b"# made by hand")
    kept = await save(path, prepare(kept.generations, datetime.now(UTC), YEAR), kept)
    assert kept.generations.roots[0] == older.certificate


@pytest.mark.parametrize("writes", range(4))
async def test_a_crash_between_any_two_writes_leaves_one_whole_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """`activate` writes three files. However many of them are written, the next start has the step before or this one, whole."""
    path = tmp_path / "ca"
    kept = await load(path)
    now = datetime.now(UTC)
    before = await save(path, prepare(covering(kept.generations, HOUR), now, YEAR), kept)
    after = activate(before.generations, now)
    assert isinstance(after, Generations)
    real, left = module._replace, [writes]

    def breaking(file: Path, body: bytes) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device", str(file))
        left[0] -= 1
        real(file, body)

    monkeypatch.setattr(module, "_replace", breaking)
    if writes < 3:
        with pytest.raises(CustodyError, match="No space left"):
            await at(path).save(after, before)
    else:
        await at(path).save(after, before)
    monkeypatch.undo()
    found = await load(path)
    assert encode(found.generations) == encode(before.generations if writes == 0 else after)
    assert load_or_create(path, "picket.test").certificate == found.generations.active.certificate


async def test_of_several_that_take_a_step_at_once_one_does(tmp_path: Path) -> None:
    kept = await load(tmp_path)
    steps = [prepare(kept.generations, datetime.now(UTC), YEAR) for _ in range(4)]
    outcomes = await asyncio.gather(*(at(tmp_path).save(step, kept) for step in steps if isinstance(step, Generations)))
    assert sum(isinstance(outcome, Overtaken) for outcome in outcomes) == 3
    won = next(outcome for outcome in outcomes if isinstance(outcome, Kept))
    assert encode((await load(tmp_path)).generations) == encode(won.generations)


def keeping(path: Path, key_pem: bytes) -> list[str]:
    """The files of a directory that hold a key, as PEM or in JSON."""
    return [file.name for file in path.iterdir() if key_pem in file.read_bytes().replace(b"\\n", b"\n")]


async def test_who_looks_while_another_takes_a_step_puts_no_key_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of before is gone with `activate`, also where somebody had read it a moment before."""
    kept = await load(tmp_path)
    now = datetime.now(UTC)
    before = await save(tmp_path, prepare(covering(kept.generations, HOUR), now, YEAR), kept)
    after = activate(before.generations, now)
    assert isinstance(after, Generations)
    slow = at(tmp_path)

    def overtaken(*given: Any) -> Generations:
        read = decode(*given)
        monkeypatch.undo()
        asyncio.run(save(tmp_path, after, before))
        return read

    monkeypatch.setattr(module, "decode", overtaken)
    await slow.load()
    assert (tmp_path / "ca.key").read_bytes() == private_pem(after.active.key)
    assert (tmp_path / "ca.pem").read_bytes() == after.active.bundle_pem


async def test_what_a_crash_left_unfinished_holds_a_key_no_longer_than_to_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes the next time, with another number."""
    kept = await load(tmp_path)
    now = datetime.now(UTC)
    prepared = prepare(covering(kept.generations, HOUR), now, YEAR)
    assert isinstance(prepared, Generations)
    with monkeypatch.context() as crash:
        crash.setattr(os, "fsync", lambda _handle: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        crash.setattr(os, "getpid", lambda: 77)
        with pytest.raises(CustodyError):
            await at(tmp_path).save(prepared, kept)
    second = await save(tmp_path, prepared, kept)
    await save(tmp_path, activate(second.generations, now), second)
    gone = private_pem(kept.generations.active.key)
    assert keeping(tmp_path, gone) == []


async def test_another_authority_in_the_files_is_told_and_nothing_is_replaced(tmp_path: Path) -> None:
    await rotated(tmp_path)
    other = older_authority("picket.test")
    (tmp_path / "ca.pem").write_bytes(other.bundle_pem)
    (tmp_path / "ca.key").write_bytes(private_pem(other.key))
    with pytest.raises(AuthorityError, match=r"ca\.pem is none of the roots in authority\.json"):
        await load(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == other.bundle_pem


async def test_lost_copies_are_written_again(tmp_path: Path) -> None:
    active = await rotated(tmp_path)
    (tmp_path / "ca.pem").unlink()
    await load(tmp_path)
    assert x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes()) == active.generations.active.certificate


@given(
    st.one_of(
        st.binary(max_size=200), st.dictionaries(st.sampled_from(["tls.crt", "tls.key", "rotation.json"]), st.text()).map(repr)
    )
)
def test_a_damaged_file_is_told_without_a_word_of_it(tmp_path_factory: pytest.TempPathFactory, body: bytes | str) -> None:
    path = tmp_path_factory.mktemp("ca")
    (path / "authority.json").write_bytes(body if isinstance(body, bytes) else body.replace("'", '"').encode())
    with pytest.raises(AuthorityError, match=r"authority\.json"):
        asyncio.run(load(path))
    assert not (path / "ca.key").exists()


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    kept = await load(tmp_path / "ca")
    (tmp_path / "ca" / ".lock").mkdir()
    with pytest.raises(CustodyError, match="cannot be kept there"):
        await at(tmp_path / "ca").save(kept.generations, kept)
