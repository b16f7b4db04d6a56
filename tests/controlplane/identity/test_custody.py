"""The authority's entries: what is written reads the same, and what does not belong together is told, never half believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.authority import AuthorityError, new_authority, private_pem
from controlplane.identity.custody import BUNDLE, CERTIFICATE, CHAIN, ENTRIES, KEY, NOTES, decode, encode, is_complete
from controlplane.identity.generations import Generations, activate, covering, first_generation, prepare

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
YEAR = timedelta(days=365)
FIRST = covering(first_generation(new_authority("picket.test", NOW, YEAR)), timedelta(hours=1))


def rotating() -> Generations:
    """With all that there can be: a next one, an old one, and what it vouches for."""
    prepared = prepare(FIRST, NOW, YEAR)
    assert isinstance(prepared, Generations)
    active = activate(prepared, NOW)
    assert isinstance(active, Generations)
    again = prepare(active, NOW, YEAR)
    assert isinstance(again, Generations)
    return again


ROTATING = rotating()


def test_everything_is_written_and_read_the_same() -> None:
    written = encode(ROTATING)
    assert set(written) == set(ENTRIES)
    read = decode(written, "picket.test", NOW, "here")
    assert encode(read) == written
    assert is_complete(written, read)
    assert read.old == ROTATING.old
    assert (read.since, read.longest) == (ROTATING.since, ROTATING.longest)


def test_what_an_older_version_wrote_is_not_complete() -> None:
    held = {CERTIFICATE: FIRST.active.bundle_pem, KEY: private_pem(FIRST.active.key)}
    read = decode(held, "picket.test", NOW, "here")
    assert (read.roots, is_complete(held, read)) == ((FIRST.active.certificate,), False)


@pytest.mark.parametrize("gone", [CERTIFICATE, KEY, BUNDLE])
def test_a_missing_entry_is_told(gone: str) -> None:
    held = {name: entry for name, entry in encode(ROTATING).items() if name != gone}
    with pytest.raises(AuthorityError, match="here: "):
        decode(held, "picket.test", NOW, "here")


def test_a_bundle_that_is_another_ones_is_told() -> None:
    held = encode(ROTATING) | {BUNDLE: new_authority("picket.test", NOW, YEAR).bundle_pem}
    with pytest.raises(AuthorityError, match="restore all from one backup"):
        decode(held, "picket.test", NOW, "here")


@given(st.sampled_from([NOTES, BUNDLE, CHAIN, CERTIFICATE, KEY]), st.binary(max_size=100))
def test_a_damaged_entry_is_told_and_never_an_exception_of_another_kind(name: str, body: bytes) -> None:
    held = encode(ROTATING) | {name: body}
    try:
        read = decode(held, "picket.test", NOW, "here")
    except AuthorityError:
        return
    assert (name, body) == (CHAIN, b"")
    assert read.roots == ROTATING.roots


@given(
    st.dictionaries(
        st.sampled_from(["active", "since", "longest_seconds", "prepared_since", "old"]),
        st.none() | st.integers() | st.text(max_size=8) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )
)
def test_notes_of_any_shape_are_read_or_told(changed: dict[str, object]) -> None:
    notes = json.dumps(json.loads(encode(ROTATING)[NOTES]) | changed).encode()
    try:
        read = decode(encode(ROTATING) | {NOTES: notes}, "picket.test", NOW, "here")
    except AuthorityError:
        return
    assert read.active.certificate == ROTATING.active.certificate
