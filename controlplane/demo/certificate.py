"""The certificate of the demo's https servers, which stand for hosts outside the mesh. Nothing in the mesh believes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_LIFETIME = timedelta(days=2)


def make_certificate(directory: Path, hosts: Iterable[str], owner: tuple[int, int] | None) -> tuple[Path, Path]:
    """Write a self-signed certificate for these hosts and its key (PEM both). Only ``owner``, or this user, can read the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Picket demo: hosts outside the mesh")])
    now = datetime.now(UTC)
    names = [x509.DNSName(host) for host in ("demo.invalid", *hosts)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "hosts.pem", directory / "hosts.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    if owner is not None:
        os.chown(key_file, *owner)
    return cert_file, key_file
