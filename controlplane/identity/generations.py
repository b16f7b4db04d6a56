"""The mesh authority's generations: which roots are trusted, which of them signs, and the steps from one to the next. Pure.

A rotation *prepares* (a new root is trusted and the old one signs), *activates* (the new one signs and the old one is trusted) and
*retires* (the old one is not trusted any more). After each step the mesh is whole, however long the next one takes:

- What the new one signs carries a certificate of it that the old one signed. So whoever slept through all of *prepare*, and trusts
  the old root alone, still believes peers and control planes, and renews.
- The old one's key is gone with *activate*; its root stays for as long as anything that it signed is valid.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from controlplane.identity.authority import CertificateAuthority, new_authority
from controlplane.identity.cacertificates import issuer_key

#: Several control planes hear of a step by looking; until then they sign as before.
NOTICE = timedelta(minutes=1)


class Step(enum.StrEnum):
    """What a rotation consists of, in this order."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Prepared:
    """An authority that is trusted and signs nothing yet."""

    authority: CertificateAuthority
    since: datetime


@dataclass(frozen=True, slots=True)
class Old:
    """The root of one that signs no more, and from when on nothing that it signed is valid."""

    certificate: x509.Certificate
    since: datetime
    signed_until: datetime


@dataclass(frozen=True, slots=True)
class Impossible:
    """A step that cannot be taken, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Generations:
    """All that are trusted. ``longest`` is the longest lifetime of a certificate that ``active`` may have signed."""

    active: CertificateAuthority
    since: datetime
    longest: timedelta = timedelta()
    prepared: Prepared | None = None
    old: tuple[Old, ...] = ()

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The trusted roots; the first is of the one that signs."""
        prepared = () if self.prepared is None else (self.prepared.authority.certificate,)
        return (self.active.certificate, *prepared, *(old.certificate for old in self.old))

    @property
    def bundle_pem(self) -> bytes:
        """The same as PEM."""
        return b"".join(root.public_bytes(serialization.Encoding.PEM) for root in self.roots)

    @property
    def next_step(self) -> Step:
        """What comes next; *prepare* where no rotation is under way."""
        if self.prepared is not None:
            return Step.ACTIVATE
        return Step.RETIRE if self.old else Step.PREPARE


def first_generation(authority: CertificateAuthority) -> Generations:
    """An authority that never was rotated. How long what it signed is valid is to be told by `covering`."""
    return Generations(authority, authority.certificate.not_valid_before_utc)


def covering(generations: Generations, lifetime: timedelta) -> Generations:
    """The same, remembering that certificates of this lifetime are signed."""
    return generations if generations.longest >= lifetime else replace(generations, longest=lifetime)


def prepare(generations: Generations, now: datetime, lifetime: timedelta) -> Generations | Impossible:
    """Make the next authority, valid for ``lifetime``, and trust it."""
    if generations.prepared is not None:
        return Impossible("the next authority is there already; it has to be activated first")
    follows = generations.active
    return replace(generations, prepared=Prepared(new_authority(follows.trust_domain, now, lifetime, follows), now))


def activate(generations: Generations, now: datetime) -> Generations | Impossible:
    """Have the prepared authority sign. The key of the one before is not in what this returns."""
    prepared = generations.prepared
    if prepared is None:
        return Impossible("there is no authority to activate; prepare one first")
    before = generations.active
    # One that has ended vouches for nobody, which is where somebody else renewed it too late.
    has_ended = before.certificate.not_valid_after_utc <= now
    crossed = b"" if has_ended else before.cross_sign(prepared.authority, now) + before.intermediates_pem
    old = Old(before.certificate, now, now + generations.longest + NOTICE)
    authority = replace(prepared.authority, intermediates_pem=crossed)
    return Generations(authority, now, generations.longest, None, (old, *generations.old))


def retire(generations: Generations) -> Generations | Impossible:
    """Trust the oldest root no more."""
    if not generations.old:
        return Impossible("there is no old root to retire")
    kept = generations.old[:-1]
    issuers = [old.certificate for old in kept]
    # What only the root that goes would vouch for is of no use to anybody.
    crossed = x509.load_pem_x509_certificates(generations.active.intermediates_pem) if generations.active.intermediates_pem else []
    left = [each for each in crossed if any(_signed(each, issuer) for issuer in issuers)]
    pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in left)
    return replace(generations, active=replace(generations.active, intermediates_pem=pem), old=kept)


def replaced(generations: Generations, authority: CertificateAuthority, now: datetime) -> Generations:
    """Somebody else, such as cert-manager, put another authority in place: the root before is trusted until what it signed ends."""
    before = generations.active
    if key_id(authority.certificate) == key_id(before.certificate):
        return replace(generations, active=replace(authority, intermediates_pem=before.intermediates_pem))
    old = Old(before.certificate, now, now + generations.longest + NOTICE)
    return Generations(authority, now, generations.longest, None, (old, *generations.old))


def key_id(certificate: x509.Certificate) -> str:
    """The name of an authority's key, as certificates that it signed carry it: hexadecimal."""
    identifier = issuer_key(certificate).key_identifier
    return "" if identifier is None else identifier.hex()


def issuer_id(certificate: x509.Certificate) -> str:
    """The name of the key that signed a certificate; empty where it does not say."""
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return "" if identifier is None else identifier.hex()


def issuer_ids(bundle_pem: bytes) -> frozenset[str]:
    """The names of the keys of these roots, one of which `issuer_id` gives for what is still trusted."""
    return frozenset(key_id(root) for root in x509.load_pem_x509_certificates(bundle_pem))


def fingerprint(bundle_pem: bytes) -> str:
    """A short name for exactly these roots, in this order."""
    return hashlib.blake2b(bundle_pem, digest_size=12).hexdigest()


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
