"""The built-in certificate authority: keeps its key on disk, signs what attestation proved. Never believes a CSR's names.

SVID profile: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.identity.cacertificates import BACKDATE, ca_builder, ca_name, issuer_key, self_signed
from controlplane.identity.spiffe import WorkloadId

MAX_CSR_BYTES = 16 * 1024
CA_LIFETIME = timedelta(days=3650)


class AuthorityError(Exception):
    """The authority's files cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Svid:
    """A signed certificate chain (PEM, leaf first), whom it names and its validity."""

    spiffe_id: str
    chain_pem: bytes
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class BadCsr:
    """A signing request that is not accepted, and why."""

    reason: str


class ServerIdentity(Protocol):
    """What the control plane shows to whoever connects, and by which roots others are believed."""

    @property
    def bundle_pem(self) -> bytes:
        """The trust roots, that of who signs first: other bytes mean another signer or other roots."""

    @property
    def version(self) -> object:
        """Differs from an earlier one where a certificate that was had then should not be shown any more."""

    def issue_server(self, names: tuple[str, ...], lifetime: timedelta, now: datetime) -> tuple[bytes, bytes]:
        """A key and a chain (PEM both) for the control plane's own listeners."""


class Issuer(ServerIdentity, Protocol):
    """Who signs, as whoever hands certificates out sees it: one authority, or the mesh's as it is now (`mesh.MeshAuthority`)."""

    def sign(self, csr_der: bytes, workload: WorkloadId, lifetime: timedelta, now: datetime) -> Svid | BadCsr:
        """A certificate for an identity that was proved elsewhere."""


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Signs SVIDs of one trust domain. ``intermediates_pem`` follows each certificate that it signs (`generations`)."""

    trust_domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    intermediates_pem: bytes = b""

    @property
    def bundle_pem(self) -> bytes:
        """The trust root."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def version(self) -> object:
        """See `ServerIdentity.version`."""
        return self.bundle_pem

    def sign(self, csr_der: bytes, workload: WorkloadId, lifetime: timedelta, now: datetime) -> Svid | BadCsr:
        """Sign the request's public key for an identity that was proved elsewhere."""
        key = _public_key(csr_der)
        if isinstance(key, BadCsr):
            return key
        uri = workload.uri(self.trust_domain)
        return self._issue(key, [x509.UniformResourceIdentifier(uri)], uri, lifetime, now)

    def issue_server(self, names: tuple[str, ...], lifetime: timedelta, now: datetime) -> tuple[bytes, bytes]:
        """A key and a chain (PEM both) for the control plane's own listeners."""
        key = ec.generate_private_key(ec.SECP256R1())
        uri = f"spiffe://{self.trust_domain}/picket/controlplane"
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), *map(_general_name, names)]
        svid = self._issue(key.public_key(), alternatives, uri, lifetime, now)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return pem, svid.chain_pem

    def cross_sign(self, newer: CertificateAuthority, now: datetime) -> bytes:
        """A certificate (PEM) for another authority's key: who trusts this one alone believes by it what the other signs.

        Both have one name, so it is self-issued, and no step of the path's length: https://www.rfc-editor.org/rfc/rfc5280#section-6.1.4
        """
        ends = min(self.certificate.not_valid_after_utc, newer.certificate.not_valid_after_utc)
        builder = ca_builder(newer.key.public_key(), newer.certificate.subject, self.trust_domain, now, ends)
        builder = builder.issuer_name(self.certificate.subject).add_extension(issuer_key(self.certificate), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey,
        names: list[x509.GeneralName],
        uri: str,
        lifetime: timedelta,
        now: datetime,
    ) -> Svid:
        not_before = (now - BACKDATE).replace(microsecond=0)
        not_after = min((now + lifetime).replace(microsecond=0), self.certificate.not_valid_after_utc)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Picket")]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
            .add_extension(issuer_key(self.certificate), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        chain = certificate.public_bytes(serialization.Encoding.PEM) + self.intermediates_pem
        return Svid(uri, chain, not_before, not_after)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _public_key(
    csr_der: bytes,
) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | BadCsr:
    if len(csr_der) > MAX_CSR_BYTES:
        return BadCsr(f"the signing request has {len(csr_der)} bytes; at most {MAX_CSR_BYTES} are read")
    try:
        csr = x509.load_der_x509_csr(csr_der)
        proven = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        return BadCsr(f"the signing request is not a PKCS#10 request in DER: {error}")
    if not proven:
        return BadCsr("the signing request is not signed by its own key")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256:
        return key
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    return BadCsr("the key is not one of: elliptic curve of 256 bits or more, RSA of 2048 to 4096 bits, Ed25519")


def load_or_create(
    directory: Path, trust_domain: str, now: datetime | None = None, lifetime: timedelta = CA_LIFETIME
) -> CertificateAuthority:
    """The authority kept in a directory, made there on first use. The key file is readable by its owner only.

    A key without a certificate is what an interrupted first use leaves: the certificate is made for that key.

    Raises:
        AuthorityError: unreadable files, a key that does not fit, another trust domain, an authority that has ended.
    """
    moment = now or datetime.now(UTC)
    certificate_file, key_file = directory / "ca.pem", directory / "ca.key"
    try:
        if not certificate_file.exists():
            _create(certificate_file, key_file, trust_domain, moment, lifetime)
        certificate_pem, key_pem = certificate_file.read_bytes(), key_file.read_bytes()
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthorityError(f"{directory}: the certificate authority's files ca.pem and ca.key cannot be used: {error}") from error
    return read_authority(certificate_pem, key_pem, trust_domain, moment, str(directory))


def read_authority(certificate_pem: bytes, key_pem: bytes, trust_domain: str, now: datetime, where: str) -> CertificateAuthority:
    """An authority that is kept somewhere; ``where`` is what errors call it.

    Raises:
        AuthorityError: they do not read, do not belong together, are another trust domain's, or have ended.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        uris = _names(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthorityError(f"{where}: the certificate authority's certificate and key cannot be used: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityError(f"{where}: this is not the key of the certificate; restore both from the same backup")
    if f"spiffe://{trust_domain}" not in uris:
        raise AuthorityError(f"{where}: made for {', '.join(uris) or 'no trust domain'}, not for the trust domain {trust_domain}")
    if certificate.not_valid_after_utc <= now:
        raise AuthorityError(f"{where}: not valid any more since {certificate.not_valid_after_utc:%Y-%m-%d}")
    return CertificateAuthority(trust_domain, certificate, key)


def new_authority(
    trust_domain: str, now: datetime, lifetime: timedelta = CA_LIFETIME, follows: CertificateAuthority | None = None
) -> CertificateAuthority:
    """A new authority, valid for so long. One that ``follows`` another has its name, so that it can be cross-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = ca_name(trust_domain) if follows is None else follows.certificate.subject
    return CertificateAuthority(trust_domain, self_signed(key, name, trust_domain, now, lifetime), key)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _create(certificate_file: Path, key_file: Path, trust_domain: str, now: datetime, lifetime: timedelta) -> None:
    certificate_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key: PrivateKeyTypes
    if key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("ca.key is not an elliptic-curve key")
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(key_file, private_pem(key))
    certificate = self_signed(key, ca_name(trust_domain), trust_domain, now, lifetime)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key, unencrypted."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all, also when the machine stops; an existing file is never replaced."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(unfinished)
    finally:
        unfinished.unlink()
