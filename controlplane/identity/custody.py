"""How the authority's generations are written down, as named entries: the same in a Secret and in a directory. Never opens a file.

``tls.crt`` and ``tls.key`` are the authority that signs, as in any kubernetes.io/tls Secret; ``chain.crt`` goes with what it signs,
``bundle.crt`` holds all trusted roots, ``prepared.crt`` and ``prepared.key`` the next one, ``rotation.json`` when what happened. An
older version leaves ``tls.crt`` and ``tls.key`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from controlplane.identity.authority import AuthorityError, CertificateAuthority, private_pem, read_authority
from controlplane.identity.generations import Generations, Old, Prepared, first_generation, replaced

CERTIFICATE, KEY = "tls.crt", "tls.key"
CHAIN, BUNDLE, NOTES = "chain.crt", "bundle.crt", "rotation.json"
PREPARED_CERTIFICATE, PREPARED_KEY = "prepared.crt", "prepared.key"
#: Everything that is Picket's to write or to take away.
ENTRIES = (CERTIFICATE, KEY, CHAIN, BUNDLE, NOTES, PREPARED_CERTIFICATE, PREPARED_KEY)
#: A root is below 1 KiB; a rotation a day for a year is more than anybody needs.
MAX_ROOTS = 400
Entries = Mapping[str, bytes]


class CustodyError(Exception):
    """Where the authority is kept cannot be read or written now; the message says why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept. ``version`` is of exactly this; ``keeper`` names who else replaces it, such as cert-manager, empty for nobody.

    Not ``complete`` is what an older version wrote, or somebody else, who knows nothing of rotation.
    """

    generations: Generations
    version: str
    complete: bool
    keeper: str = ""
    #: What was read, where it was read from as a whole.
    source: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Somebody else wrote meanwhile: nothing was written."""


class Custody(Protocol):
    """Where the authority is kept: `directory.AuthorityDirectory` or `kubernetes.authority.AuthoritySecret`."""

    async def load(self) -> Kept:
        """What is kept; it is made where there is nothing.

        Raises:
            CustodyError: it cannot be read, or made.
            AuthorityError: what is there cannot be used.
        """

    async def save(self, generations: Generations, before: Kept) -> Kept | Overtaken:
        """Write all of it, or nothing, in place of what was read before.

        Raises:
            CustodyError: it cannot be written.
        """


class _Old(msgspec.Struct, frozen=True):
    since: datetime
    signed_until: datetime


class _Notes(msgspec.Struct, frozen=True):
    """Certificates are named by their SHA-256 in hexadecimal; times are in UTC, to the second."""

    active: str
    since: datetime
    longest_seconds: int
    prepared_since: datetime | None = None
    old: dict[str, _Old] = {}


def encode(generations: Generations) -> dict[str, bytes]:
    """The entries."""
    active, prepared = generations.active, generations.prepared
    notes = _Notes(
        _name(active.certificate),
        generations.since,
        int(generations.longest.total_seconds()),
        None if prepared is None else prepared.since,
        {_name(old.certificate): _Old(old.since, old.signed_until) for old in generations.old},
    )
    written = {
        CERTIFICATE: active.bundle_pem, KEY: private_pem(active.key), BUNDLE: generations.bundle_pem,
        NOTES: msgspec.json.format(msgspec.json.encode(notes)),
    }  # fmt: skip
    if active.intermediates_pem:
        written[CHAIN] = active.intermediates_pem
    if prepared is not None:
        written |= {
            PREPARED_CERTIFICATE: prepared.authority.bundle_pem, PREPARED_KEY: private_pem(prepared.authority.key),
        }  # fmt: skip
    return written


def is_complete(entries: Entries, generations: Generations) -> bool:
    """Whether entries say everything of what was read from them."""
    return entries.get(NOTES) == encode(generations)[NOTES]


def decode(entries: Entries, trust_domain: str, now: datetime, where: str) -> Generations:
    """The generations. ``where`` is what errors call the place.

    Where ``tls.crt`` is not the one of ``rotation.json``, somebody else put it there: the root before it is trusted for a while.

    Raises:
        AuthorityError: entries that are missing, do not read or do not belong together, or an authority that has ended.
    """
    try:
        found = read_authority(entries[CERTIFICATE], entries[KEY], trust_domain, now, where)
    except KeyError as error:
        raise AuthorityError(f"{where}: {CERTIFICATE} and {KEY} are not both in it, or no base64") from error
    if NOTES not in entries:
        return first_generation(found)
    try:
        notes = msgspec.json.decode(entries[NOTES], type=_Notes)
        roots = {_name(root): root for root in x509.load_pem_x509_certificates(entries[BUNDLE])}
        chain = entries.get(CHAIN, b"")
        if chain:
            x509.load_pem_x509_certificates(chain)
    except (KeyError, ValueError) as error:
        reason = f"{NOTES}, {BUNDLE} or {CHAIN} cannot be used ({error})"
        raise AuthorityError(f"{where}: {reason}; restore all from one backup") from error
    if len(roots) > MAX_ROOTS or notes.active not in roots:
        raise AuthorityError(f"{where}: {BUNDLE} is not what {NOTES} is about; restore all from one backup")
    prepared = _prepared(entries, notes, trust_domain, now, where)
    longest = timedelta(seconds=notes.longest_seconds)
    old = tuple(Old(roots[name], _utc(each.since), _utc(each.signed_until)) for name, each in notes.old.items() if name in roots)
    if _name(found.certificate) == notes.active:
        active = CertificateAuthority(trust_domain, found.certificate, found.key, chain)
        return Generations(active, _utc(notes.since), longest, prepared, old)
    # The key of the one before is gone with it: only its certificate counts.
    before = CertificateAuthority(trust_domain, roots[notes.active], found.key, chain)
    return replaced(Generations(before, _utc(notes.since), longest, None, old), found, now)


def _prepared(entries: Entries, notes: _Notes, trust_domain: str, now: datetime, where: str) -> Prepared | None:
    if notes.prepared_since is None or PREPARED_CERTIFICATE not in entries or PREPARED_KEY not in entries:
        return None
    authority = read_authority(
        entries[PREPARED_CERTIFICATE], entries[PREPARED_KEY], trust_domain, now, f"{where}: {PREPARED_CERTIFICATE}"
    )
    return Prepared(authority, _utc(notes.prepared_since))


def _name(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
