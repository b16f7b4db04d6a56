"""The built-in authority: it signs what was proved, never what a request asks, and guards its files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.authority import MAX_CSR_BYTES, AuthorityError, BadCsr, CertificateAuthority, Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
CART = WorkloadId("shop", "cart")
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return load_or_create(tmp_path_factory.mktemp("ca"), "picket.local", NOW)


def request() -> x509.CertificateSigningRequestBuilder:
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))


def der(csr: x509.CertificateSigningRequest) -> bytes:
    return csr.public_bytes(serialization.Encoding.DER)


def plain_csr() -> bytes:
    return der(request().sign(EC_KEY, hashes.SHA256()))


def leaf(svid: Svid | BadCsr) -> x509.Certificate:
    assert isinstance(svid, Svid), svid
    return x509.load_pem_x509_certificate(svid.chain_pem)


def uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_the_certificate_names_the_proved_workload_and_nothing_else(authority: CertificateAuthority) -> None:
    certificate = leaf(authority.sign(plain_csr(), CART, HOUR, NOW))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://picket.local/ns/shop/sa/cart")]
    assert certificate.public_key() == EC_KEY.public_key()
    certificate.verify_directly_issued_by(authority.certificate)


def test_what_a_request_asks_is_ignored(authority: CertificateAuthority) -> None:
    """Another name, a CA flag, a subject, extra usages: none of it is in the certificate."""
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://picket.local/ns/shop/sa/admin"), x509.DNSName("controlplane")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(EC_KEY, hashes.SHA256())
    )
    certificate = leaf(authority.sign(der(greedy), CART, HOUR, NOW))
    assert uris(certificate) == ["spiffe://picket.local/ns/shop/sa/cart"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False
    assert b"admin" not in certificate.public_bytes(serialization.Encoding.DER)


def test_the_certificate_is_short_lived_and_valid_a_little_before_now(authority: CertificateAuthority) -> None:
    svid = authority.sign(plain_csr(), CART, HOUR, NOW)
    assert isinstance(svid, Svid)
    assert (svid.not_before, svid.not_after) == (NOW - timedelta(minutes=1), NOW + HOUR)
    certificate = leaf(svid)
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (svid.not_before, svid.not_after)


def test_no_certificate_outlives_the_authority(authority: CertificateAuthority) -> None:
    certificate = leaf(authority.sign(plain_csr(), CART, timedelta(days=10_000), NOW))
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("key", "accepted"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), True),
        (lambda: ec.generate_private_key(ec.SECP384R1()), True),
        (lambda: ec.generate_private_key(ec.SECP192R1()), False),
        (lambda: rsa.generate_private_key(65537, 2048), True),
        (lambda: rsa.generate_private_key(65537, 1024), False),
        (ed25519.Ed25519PrivateKey.generate, True),
        (ed448.Ed448PrivateKey.generate, False),
        (lambda: dsa.generate_private_key(1024), False),
    ],
    ids=["p256", "p384", "p192", "rsa2048", "rsa1024", "ed25519", "ed448", "dsa"],
)
def test_only_strong_keys_that_tls_can_use_are_signed(
    authority: CertificateAuthority, key: Callable[[], CertificateIssuerPrivateKeyTypes], *, accepted: bool
) -> None:
    made = key()
    digest = None if isinstance(made, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    answer = authority.sign(der(request().sign(made, digest)), CART, HOUR, NOW)
    assert isinstance(answer, Svid if accepted else BadCsr)


def test_a_request_that_its_own_key_did_not_sign_is_refused(authority: CertificateAuthority) -> None:
    """Without this, one could have another's public key certified."""
    body = bytearray(plain_csr())
    body[-3] ^= 1
    assert isinstance(authority.sign(bytes(body), CART, HOUR, NOW), BadCsr)


def test_a_request_that_is_too_large_is_not_parsed(authority: CertificateAuthority) -> None:
    answer = authority.sign(b"\x30" * (MAX_CSR_BYTES + 1), CART, HOUR, NOW)
    assert isinstance(answer, BadCsr)
    assert str(MAX_CSR_BYTES) in answer.reason


@given(st.binary(max_size=300))
def test_any_bytes_are_a_bad_request_and_never_an_exception(authority: CertificateAuthority, body: bytes) -> None:
    assert isinstance(authority.sign(body, CART, HOUR, NOW), BadCsr)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_request_with_one_wrong_byte_is_answered_and_never_an_exception(
    authority: CertificateAuthority, where: float, change: int
) -> None:
    """``where`` is a share: a signature in DER has a byte more or less each time."""
    body = bytearray(plain_csr())
    body[int(where * len(body))] ^= change
    assert isinstance(authority.sign(bytes(body), CART, HOUR, NOW), BadCsr)


def test_the_control_plane_gets_its_names_and_an_identity_of_its_own(authority: CertificateAuthority) -> None:
    key_pem, chain = authority.issue_server(("controlplane.picket", "127.0.0.1"), HOUR, NOW)
    certificate = x509.load_pem_x509_certificate(chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["controlplane.picket"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert uris(certificate) == ["spiffe://picket.local/picket/controlplane"]
    key = serialization.load_pem_private_key(key_pem, None)
    assert key.public_key() == certificate.public_key()
    verifier = PolicyBuilder().store(Store([authority.certificate])).time(NOW)
    verifier.build_server_verifier(x509.DNSName("controlplane.picket")).verify(certificate, [])


def test_the_authority_is_kept_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "ca", "picket.local", NOW)
    assert load_or_create(tmp_path / "ca", "picket.local", NOW).certificate == made.certificate
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()} == {"ca.pem": 0o600, "ca.key": 0o600}
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700


def test_an_authority_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path, "picket.local", NOW)
    with pytest.raises(AuthorityError, match=r"made for spiffe://picket\.local, not for the trust domain other\.domain"):
        load_or_create(tmp_path, "other.domain", NOW)


def test_a_first_use_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    """A crash between the two files leaves a key that has signed nothing."""
    made = load_or_create(tmp_path, "picket.local", NOW)
    (tmp_path / "ca.pem").unlink()
    again = load_or_create(tmp_path, "picket.local", NOW)
    assert again.certificate.public_key() == made.certificate.public_key()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
def test_a_broken_file_is_told_and_never_replaced(tmp_path: Path, name: str, body: bytes) -> None:
    load_or_create(tmp_path, "picket.local", NOW)
    (tmp_path / name).write_bytes(body)
    with pytest.raises(AuthorityError, match="cannot be used"):
        load_or_create(tmp_path, "picket.local", NOW)
    assert (tmp_path / name).read_bytes() == body


def test_a_lost_key_is_told(tmp_path: Path) -> None:
    load_or_create(tmp_path, "picket.local", NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(AuthorityError, match=r"ca\.key"):
        load_or_create(tmp_path, "picket.local", NOW)
    assert not (tmp_path / "ca.key").exists()


def test_a_key_of_another_authority_is_told(tmp_path: Path) -> None:
    load_or_create(tmp_path / "a", "picket.local", NOW)
    load_or_create(tmp_path / "b", "picket.local", NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(AuthorityError, match="restore both from the same backup"):
        load_or_create(tmp_path / "a", "picket.local", NOW)


def test_an_authority_that_has_ended_is_told(tmp_path: Path) -> None:
    load_or_create(tmp_path, "picket.local", NOW)
    with pytest.raises(AuthorityError, match="not valid any more"):
        load_or_create(tmp_path, "picket.local", NOW + timedelta(days=3651))


def test_a_certificate_without_names_is_told(tmp_path: Path) -> None:
    """A CA that somebody made by hand, without the trust domain in it."""
    load_or_create(tmp_path, "picket.local", NOW)
    key = serialization.load_pem_private_key((tmp_path / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "by hand")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    certificate = builder.not_valid_before(NOW).not_valid_after(NOW + HOUR).sign(key, hashes.SHA256())
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(AuthorityError, match="made for no trust domain"):
        load_or_create(tmp_path, "picket.local", NOW)
