"""TLS between sidecars: contexts and the validation secrets that carry who may connect. Never holds a private key.

A sidecar's own certificate comes from its agent; whom to believe comes from the control plane.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from controlplane.identity.spiffe import WorkloadId
from controlplane.xds import types
from controlplane.xds.message import boolean, from_agent, from_control_plane, pack
from controlplane.xds.snapshot import Resource, resource_of

#: Offered by a sidecar's client side, so that the other side knows mesh TLS from an application's own.
ALPN = "picket"
#: The same, when the client side found HTTP by inspection.
ALPN_HTTP = "picket-http"

BUNDLE = "bundle"
#: No peer has this name: a list that must not be empty, and lets nobody in.
_NOBODY = "spiffe://nobody.invalid/"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom this mesh believes: its trust domain and root certificates (PEM)."""

    trust_domain: str
    bundle_pem: bytes


def bundle_secret(trust: Trust) -> Resource:
    """Anybody with a certificate of this trust domain."""
    return _validation(BUNDLE, trust, string_pb2.StringMatcher(prefix=f"spiffe://{trust.trust_domain}/"))


def peers_secret(name: str, trust: Trust, peers: Iterable[WorkloadId] | None) -> Resource:
    """Exactly these peers, decided in the handshake; ``None`` lets in the whole trust domain."""
    if peers is None:
        return _validation(name, trust, string_pb2.StringMatcher(prefix=f"spiffe://{trust.trust_domain}/"))
    names = [peer.uri(trust.trust_domain) for peer in sorted(peers)] or [_NOBODY]
    return _validation(name, trust, *(string_pb2.StringMatcher(exact=name) for name in names))


def _validation(name: str, trust: Trust, *matchers: string_pb2.StringMatcher) -> Resource:
    context = common_pb2.CertificateValidationContext(
        trusted_ca=base_pb2.DataSource(inline_bytes=trust.bundle_pem),
        match_typed_subject_alt_names=[
            common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=matcher)
            for matcher in matchers
        ],
    )
    return resource_of(types.SECRET, name, secret_pb2.Secret(name=name, validation_context=context))


def _identity() -> tls_pb2.CommonTlsContext:
    return tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
            tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[secret_pb2.SdsSecretConfig(name="identity", sds_config=from_agent())],
    )


def downstream(secret: str) -> base_pb2.TransportSocket:
    """The server side: a client certificate is required and checked against a validation secret.

    Sessions are not resumed: a resumed one would skip the check of the peer's name.
    """
    common = _identity()
    common.validation_context_sds_secret_config.CopyFrom(
        secret_pb2.SdsSecretConfig(name=secret, sds_config=from_control_plane())
    )
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=common,
        require_client_certificate=boolean(True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def upstream(trust: Trust, destination: WorkloadId, alpn: str) -> base_pb2.TransportSocket:
    """The client side: the server must prove that it is the destination."""
    common = _identity()
    common.alpn_protocols.append(alpn)
    name = common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.URI,
        matcher=string_pb2.StringMatcher(exact=destination.uri(trust.trust_domain)),
    )
    common.combined_validation_context.CopyFrom(
        tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=[name]),
            validation_context_sds_secret_config=secret_pb2.SdsSecretConfig(name=BUNDLE, sds_config=from_control_plane()),
        )
    )
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.tls", typed_config=pack(tls_pb2.UpstreamTlsContext(common_tls_context=common))
    )
