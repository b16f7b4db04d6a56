"""The certificates of authorities: what stands in them, and how they name each other. Keeps no key and signs nothing by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: Clocks differ: a certificate is valid from a little before it was made.
BACKDATE = timedelta(minutes=1)


def issuer_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """How what an authority signed names the authority's key."""
    try:
        subject = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public = certificate.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)  # `authority.read_authority` takes no other
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject)


def ca_name(trust_domain: str) -> x509.Name:
    """What authorities that are made here are called; those that follow one take its name."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Picket"), x509.NameAttribute(NameOID.COMMON_NAME, trust_domain[:64])]
    )


def is_own(certificate: x509.Certificate, trust_domain: str) -> bool:
    """Whether a root has the name of those that are made here."""
    return certificate.subject == certificate.issuer == ca_name(trust_domain)


def self_signed(
    key: ec.EllipticCurvePrivateKey, name: x509.Name, trust_domain: str, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """An authority's own certificate: a root."""
    return ca_builder(key.public_key(), name, trust_domain, now, now + lifetime).issuer_name(name).sign(key, hashes.SHA256())


def ca_builder(
    key: ec.EllipticCurvePublicKey, name: x509.Name, trust_domain: str, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    """A CA certificate for a key, without its issuer."""
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - BACKDATE).replace(microsecond=0))
        .not_valid_after(not_after.replace(microsecond=0))
        # One step is for a cross-signed certificate: it is self-issued, which RFC 5280 6.1.4 does not count and Go does.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False)
    )
