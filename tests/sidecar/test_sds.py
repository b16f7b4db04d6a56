"""The secret stream: Envoy gets its certificate when it asks and when it changes, and nothing else."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, SubjectAltNameMatcher, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import UInt32Value
from hypothesis import given
from hypothesis import strategies as st

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import Resource
from sidecar.sds import IDENTITY, SECRET_TYPE, SecretStream, identity_secret, roots_of


@given(st.binary(max_size=40_000), st.binary(max_size=300))
def test_the_secret_written_by_hand_is_the_one_that_protobuf_reads(chain: bytes, key: bytes) -> None:
    certificate = TlsCertificate(certificate_chain=DataSource(inline_bytes=chain), private_key=DataSource(inline_bytes=key))
    assert Secret.FromString(identity_secret(chain, key)) == Secret(name=IDENTITY, tls_certificate=certificate)


def subscribed(*names: str) -> Request:
    return Request(type_url=SECRET_TYPE, resource_names_subscribe=names)


def test_a_subscription_is_answered_with_the_identity_at_hand() -> None:
    stream = SecretStream()
    stream.on_identity("1", b"secret")
    (response,) = stream.on_request(subscribed(IDENTITY))
    (sent,) = response.resources
    assert (sent.name, sent.version, response.type_url) == (IDENTITY, "1", SECRET_TYPE)
    assert Any.FromString(sent.resource) == Any(type_url=SECRET_TYPE, value=b"secret")


def test_before_there_is_an_identity_envoy_waits_and_then_gets_it() -> None:
    stream = SecretStream()
    assert stream.on_request(subscribed(IDENTITY)) == []
    assert len(stream.on_identity("1", b"secret")) == 1


def test_an_ack_brings_nothing_and_a_new_identity_comes_once() -> None:
    stream = SecretStream()
    stream.on_identity("1", b"secret")
    (response,) = stream.on_request(subscribed(IDENTITY))
    assert stream.on_request(Request(type_url=SECRET_TYPE, response_nonce=response.nonce)) == []
    (renewed,) = stream.on_identity("2", b"other")
    assert renewed.nonce != response.nonce
    assert stream.on_identity("2", b"other") == []


def test_other_names_and_ended_subscriptions_get_nothing() -> None:
    stream = SecretStream()
    stream.on_identity("1", b"secret")
    assert stream.on_request(subscribed("ca", "*")) == []
    stream.on_request(subscribed(IDENTITY))
    assert stream.on_request(Request(type_url=SECRET_TYPE, resource_names_unsubscribe=[IDENTITY])) == []
    assert stream.on_identity("2", b"other") == []


def test_an_envoy_that_has_the_version_is_not_sent_it_again() -> None:
    stream = SecretStream()
    stream.on_identity("1", b"secret")
    request = subscribed(IDENTITY)
    request.initial_resource_versions[IDENTITY] = "1"
    assert stream.on_request(request) == []


def test_a_nack_is_remembered_until_the_next_ack() -> None:
    stream = SecretStream()
    stream.on_identity("1", b"secret")
    (response,) = stream.on_request(subscribed(IDENTITY))
    nack = Request(type_url=SECRET_TYPE, response_nonce=response.nonce)
    nack.error_detail.message = "bad key"
    assert stream.on_request(nack) == []
    assert stream.refused == "bad key"
    (again,) = stream.on_identity("2", b"other")
    stream.on_request(Request(type_url=SECRET_TYPE, response_nonce=again.nonce))
    assert stream.refused == ""


@given(st.text(alphabet=st.characters(max_codepoint=127)), st.lists(st.text(max_size=40), max_size=5))
def test_the_roots_in_a_secret_are_those_that_envoy_reads(roots: str, names: list[str]) -> None:
    """Whatever else is in it: the names of peers, and what later versions add."""
    context = CertificateValidationContext(
        trusted_ca=DataSource(inline_bytes=roots.encode()), max_verify_depth=UInt32Value(value=3)
    )
    for name in names:
        entry = context.match_typed_subject_alt_names.add(san_type=SubjectAltNameMatcher.URI)
        entry.matcher.exact = name
    secret = Secret(name="roots", validation_context=context)
    packed = Any()
    packed.Pack(secret)
    assert roots_of(Resource(name="roots", version="1", resource=packed.SerializeToString()).SerializeToString()) == roots


@given(st.binary(max_size=300))
def test_bytes_that_are_no_secret_hold_no_roots(body: bytes) -> None:
    assert isinstance(roots_of(body), str)
    assert isinstance(roots_of(Resource(resource=body).SerializeToString()), str)
    own = Any(type_url=SECRET_TYPE, value=identity_secret(b"chain", b"key"))
    assert roots_of(Resource(resource=own.SerializeToString()).SerializeToString()) == ""
