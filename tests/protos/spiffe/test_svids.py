"""What a Workload API answers: read whole, or refused with a reason; never more of it than is bounded, never another's key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.authority import load_or_create, new_authority
from protos.spiffe.endpoint import MAX_ANSWER_BYTES
from protos.spiffe.svids import MAX_CHAIN, MAX_ROOTS, MAX_SVIDS, AnswerError, read_answer
from protos.spiffe.workload_pb2 import X509SVID
from tests.harness.workloadapi import answer, svid

CART, WEB = "spiffe://picket.test/ns/shop/sa/cart", "spiffe://picket.test/ns/shop/sa/web"


AUTHORITY = new_authority("picket.test", datetime.now(UTC))
GOOD, OTHER = svid(AUTHORITY, CART, hint="mesh"), svid(AUTHORITY, WEB)


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def changed(change: Callable[[X509SVID], object]) -> bytes:
    copy = X509SVID()
    copy.CopyFrom(GOOD)
    change(copy)
    return answer(copy)


def self_signed(key: Key, *uris: str, ca: bool = False) -> X509SVID:
    """A certificate as odd as wanted."""
    now = datetime.now(UTC)
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    )  # fmt: skip
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    packed = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    leaf = signed.public_bytes(serialization.Encoding.DER)
    return X509SVID(spiffe_id=CART, x509_svid=leaf, x509_svid_key=packed, bundle=GOOD.bundle)


def odd(before: bytes, after: bytes) -> bytes:
    """A leaf with some bytes of its certificate replaced by others of the same length: nobody checks who signed it."""
    given = changed(lambda svid: setattr(svid, "x509_svid", svid.x509_svid.replace(before, after)))
    assert len(before) == len(after)
    assert given != answer(GOOD)
    return given


def test_an_answer_is_read_as_pem(tmp_path: Path) -> None:
    other = load_or_create(tmp_path, "picket.test")
    found = read_answer(answer(GOOD, svid(AUTHORITY, WEB, roots=other.bundle_pem)))
    assert [(each.spiffe_id, each.hint) for each in found] == [(CART, "mesh"), (WEB, "")]
    leaf = x509.load_pem_x509_certificate(found[0].chain_pem.encode())
    key = serialization.load_pem_private_key(found[0].key_pem.encode(), None)
    assert key.public_key() == leaf.public_key()
    assert found[0].not_before_seconds == leaf.not_valid_before_utc.timestamp()
    assert found[0].not_after_seconds == leaf.not_valid_after_utc.timestamp()
    assert found[0].bundle_pem == AUTHORITY.bundle_pem.decode()
    assert found[1].bundle_pem == (AUTHORITY.bundle_pem + other.bundle_pem).decode()
    assert found[0].key_pem not in repr(found)


def test_a_chain_keeps_its_order_and_names_are_the_leafs() -> None:
    given = svid(AUTHORITY, CART, dns=("picket-controlplane", "picket.picket.svc"))
    given.x509_svid += AUTHORITY.certificate.public_bytes(serialization.Encoding.DER)
    (found,) = read_answer(answer(given))
    assert found.dns_names == ("picket-controlplane", "picket.picket.svc")
    chain = x509.load_pem_x509_certificates(found.chain_pem.encode())
    assert chain[1] == AUTHORITY.certificate


def test_an_rsa_key_is_taken() -> None:
    assert read_answer(answer(self_signed(rsa.generate_private_key(65537, 2048), CART)))[0].spiffe_id == CART


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "0 identities"),
        (b"\x0a", "no X509SVIDResponse"),
        (b"\0" * (MAX_ANSWER_BYTES + 1), "bytes; at most"),
        (answer(*[X509SVID()] * (MAX_SVIDS + 1)), "101 identities"),
        (changed(lambda svid: setattr(svid, "spiffe_id", WEB)), "another SPIFFE ID"),
        (changed(lambda svid: setattr(svid, "spiffe_id", "shop/cart")), "no SPIFFE ID"),
        (changed(lambda svid: setattr(svid, "spiffe_id", "spiffe://a/\n")), "no SPIFFE ID"),
        (changed(lambda svid: setattr(svid, "spiffe_id", "spiffe://a/" + "b" * 2048)), "no SPIFFE ID"),
        (changed(lambda svid: svid.ClearField("x509_svid")), "missing"),
        (changed(lambda svid: svid.ClearField("bundle")), "missing"),
        (changed(lambda svid: svid.ClearField("x509_svid_key")), "cannot be read"),
        (changed(lambda svid: setattr(svid, "x509_svid", svid.x509_svid[:-1])), "cut off"),
        (changed(lambda svid: setattr(svid, "x509_svid", b"\x30")), "cut off|cannot be read"),
        (changed(lambda svid: setattr(svid, "bundle", b"\x30\x03abc")), "cannot be read"),
        (changed(lambda svid: setattr(svid, "bundle", svid.bundle * (MAX_ROOTS + 1))), f"more than {MAX_ROOTS}"),
        (changed(lambda svid: setattr(svid, "x509_svid", svid.x509_svid * (MAX_CHAIN + 1))), f"more than {MAX_CHAIN}"),
        (changed(lambda svid: setattr(svid, "x509_svid_key", OTHER.x509_svid_key)), "not that of its certificate"),
        (answer(self_signed(ec.generate_private_key(ec.SECP256R1()), CART, WEB)), "another SPIFFE ID, or not that one alone"),
        (answer(self_signed(ec.generate_private_key(ec.SECP256R1()))), "no names"),
        (answer(self_signed(ec.generate_private_key(ec.SECP256R1()), CART, ca=True)), "an authority's"),
        # Extended usages (2.5.29.37) become a second list of names (2.5.29.17), the one name an X.400 address.
        (odd(bytes.fromhex("0603551d25"), bytes.fromhex("0603551d11")), "cannot be read .DuplicateExtension"),
        (odd(b"\x86%c" % len(CART), b"\xa3%c" % len(CART)), "cannot be read .UnsupportedGeneralNameType"),
        (answer(self_signed(ed25519.Ed25519PrivateKey.generate(), CART)), "neither of elliptic curves nor RSA"),
    ],
)  # fmt: skip
def test_what_the_standard_does_not_allow_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        read_answer(body)


@given(body=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_answer(body)
    except AnswerError:
        return


@given(data=st.data())
def test_a_good_answer_with_some_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(answer(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        (found,) = read_answer(bytes(body))
    except AnswerError:
        return
    assert found.spiffe_id.startswith("spiffe://")


@given(field=st.sampled_from(["x509_svid", "x509_svid_key", "bundle"]), value=st.binary(max_size=200))
def test_any_bytes_in_place_of_certificate_key_or_roots_are_refused(field: str, value: bytes) -> None:
    with pytest.raises(AnswerError):
        read_answer(changed(lambda svid: setattr(svid, field, value)))
