"""What an answer of the Workload API says: identities with their keys and roots. Opens no connection, and chooses none of them.

It stands here because control plane and sidecar read the same answers and do not know each other.
Profile: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf.message import DecodeError

from protos.spiffe.endpoint import MAX_ANSWER_BYTES
from protos.spiffe.workload_pb2 import X509SVID, X509SVIDResponse

MAX_SVIDS = 100
MAX_CHAIN, MAX_ROOTS = 16, 64
_MAX_ID_BYTES = 2048
_SEQUENCE, _LONG = 0x30, 0x80
#: What the library raises at odd certificates and keys; its own are no `ValueError`.
_UNREADABLE = (
    ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip


class AnswerError(ValueError):
    """An answer that the standard does not allow; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class X509Svid:
    """One identity. PEM is text, the chain has the leaf first, times are Unix seconds; ``dns_names`` are the leaf's."""

    spiffe_id: str
    hint: str
    key_pem: str = field(repr=False)
    chain_pem: str = field(repr=False)
    bundle_pem: str = field(repr=False)
    dns_names: tuple[str, ...]
    not_before_seconds: int
    not_after_seconds: int


def read_answer(body: bytes) -> tuple[X509Svid, ...]:
    """All identities of a serialised ``X509SVIDResponse``; there is at least one.

    Raises:
        AnswerError: too large, no such message, none in it, or one that cannot be used.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise AnswerError(f"the answer has {len(body)} bytes; at most {MAX_ANSWER_BYTES} are read")
    try:
        answer = X509SVIDResponse.FromString(body)
    except DecodeError as error:
        raise AnswerError("the answer is no X509SVIDResponse") from error
    if not 0 < len(answer.svids) <= MAX_SVIDS:
        raise AnswerError(f"the answer has {len(answer.svids)} identities; 1 to {MAX_SVIDS} are read")
    return tuple(map(_read, answer.svids))


def _read(svid: X509SVID) -> X509Svid:
    name = svid.spiffe_id
    if not name.startswith("spiffe://") or not name.isprintable() or len(name.encode()) > _MAX_ID_BYTES:
        raise AnswerError(f"{name[:200]!r} is no SPIFFE ID")
    try:
        chain = [x509.load_der_x509_certificate(der) for der in _split(svid.x509_svid, MAX_CHAIN)]
        roots = [x509.load_der_x509_certificate(der) for der in _split(svid.bundle, MAX_ROOTS)]
        key = serialization.load_der_private_key(svid.x509_svid_key, password=None)
        dns_names = _check_leaf(chain[0], name)
        fits = isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) and key.public_key() == chain[0].public_key()
        moments = int(chain[0].not_valid_before_utc.timestamp()), int(chain[0].not_valid_after_utc.timestamp())
    except AnswerError as error:
        raise AnswerError(f"{name}: {error}") from error
    except _UNREADABLE as error:
        raise AnswerError(f"{name}: its certificates, roots or key cannot be read ({type(error).__name__})") from error
    if not fits:
        raise AnswerError(f"{name}: the key is not that of its certificate, or neither of elliptic curves nor RSA")
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return X509Svid(name, svid.hint, private.decode(), _pem(chain), _pem(roots), dns_names, *moments)


def _check_leaf(leaf: x509.Certificate, name: str) -> tuple[str, ...]:
    """See that it is what peers take as this identity, and return its DNS names."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise AnswerError("its certificate has no names") from error
    if alternatives.get_values_for_type(x509.UniformResourceIdentifier) != [name]:
        raise AnswerError("its certificate has another SPIFFE ID, or not that one alone")
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise AnswerError("its certificate is an authority's")
    except x509.ExtensionNotFound:
        pass
    return tuple(alternatives.get_values_for_type(x509.DNSName))


def _split(joined: bytes, most: int) -> Iterator[bytes]:
    """Certificates that stand one after the other: each is a sequence that says its length (X.690, 8.1.3)."""
    if not joined:
        raise AnswerError("its certificates or roots are missing")
    start = 0
    for _ in range(most):
        length, head = joined[start + 1] if start + 1 < len(joined) else 0, 2
        if length >= _LONG:
            head += length - _LONG
            length = int.from_bytes(joined[start + 2 : start + head])
        end = start + head + length
        if joined[start] != _SEQUENCE or head > 6 or end > len(joined):
            raise AnswerError("its certificates or roots are cut off, or not DER")
        yield joined[start:end]
        if end == len(joined):
            return
        start = end
    raise AnswerError(f"it has more than {most} certificates or roots")


def _pem(certificates: list[x509.Certificate]) -> str:
    return b"".join(found.public_bytes(serialization.Encoding.PEM) for found in certificates).decode()
