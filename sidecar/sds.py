"""The secret that the agent itself serves to Envoy: its certificate and key. And the roots in those of the control plane.

Never serves whom to trust: that is the control plane's to say.

Secret: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/secret.proto
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from protos.picket.v1.xds_pb2 import Packed, Resource, Secret

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  # a type
IDENTITY = "identity"


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited field.

    https://protobuf.dev/programming-guides/encoding/
    """
    length = len(body)
    head = bytearray((number << 3 | 2,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def identity_secret(chain_pem: bytes, key_pem: bytes) -> bytes:
    """The serialised secret: name = 1, tls_certificate = 2 {certificate_chain = 1, private_key = 2, each {inline_bytes = 2}}.

    Written by hand: the message's module would cost the agent memory for two fields.
    """
    certificate = _field(1, _field(2, chain_pem)) + _field(2, _field(2, key_pem))
    return _field(1, IDENTITY.encode()) + _field(2, certificate)


def roots_of(resource: bytes) -> str:
    """The roots (PEM) in a secret of the control plane's, as it came: a serialised `Resource`. Empty where it holds none."""
    try:
        packed = Packed.FromString(Resource.FromString(resource).resource)
        return Secret.FromString(packed.value).validation_context.trusted_ca.inline_bytes.decode("ascii")
    except (DecodeError, UnicodeDecodeError):
        return ""


class SecretStream:
    """One delta SDS stream: requests and a changing identity go in, responses come out. No I/O.

    Envoy asks for secrets by name; names other than ``identity`` are left waiting.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._has = ""
        self._version = ""
        self._secret = b""
        self._nonces = 0
        self._refused = ""

    @property
    def refused(self) -> str:
        """Why Envoy refused the identity last; empty when it did not."""
        return self._refused

    def on_request(self, request: Request) -> list[Response]:
        """A subscription, an ACK or a NACK."""
        if request.response_nonce:
            self._refused = request.error_detail.message if request.HasField("error_detail") else ""
        if IDENTITY in request.resource_names_unsubscribe:
            self._wanted = False
        if IDENTITY in request.resource_names_subscribe:
            self._wanted = True
            self._has = request.initial_resource_versions.get(IDENTITY, "")
        return self._respond()

    def on_identity(self, version: str, secret: bytes) -> list[Response]:
        """A new certificate and key, from `identity_secret`; ``version`` differs for each."""
        self._version, self._secret = version, secret
        return self._respond()

    def _respond(self) -> list[Response]:
        if not self._wanted or not self._secret or self._version == self._has:
            return []
        self._has = self._version
        self._nonces += 1
        response = Response(type_url=SECRET_TYPE, nonce=str(self._nonces))
        packed = _field(1, SECRET_TYPE.encode()) + _field(2, self._secret)
        response.resources.add(name=IDENTITY, version=self._version, resource=packed)
        return [response]
