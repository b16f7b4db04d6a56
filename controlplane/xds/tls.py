"""TLS between sidecars: contexts and the validation secrets that carry who may connect. Never holds a private key.

A sidecar's own certificate comes from its agent; whom to believe comes from the control plane.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, SubjectAltNameMatcher, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.identity.generations import fingerprint
from controlplane.identity.spiffe import WorkloadId
from controlplane.xds import types, wire
from controlplane.xds.message import boolean, from_agent, from_control_plane, pack
from controlplane.xds.snapshot import Resource, content_hash, resource_from_splice

#: Offered by a sidecar's client side, so that the other side knows mesh TLS from an application's own.
ALPN = "picket"
#: The same, when the client side found HTTP by inspection.
ALPN_HTTP = "picket-http"

#: The secret with the trust roots and any name of the trust domain, for the server side of HTTP ports.
BUNDLE = "bundle"
#: The secret with the trust roots alone, for the client side: Envoy adds a secret's names to those that the cluster wants,
#: and one of them is enough, so a name here would let every workload pose as every service.
ROOTS = "roots"
#: No peer has this name: a list that must not be empty, and lets nobody in.
_NOBODY = "spiffe://nobody.invalid/"
#: More quarantined workloads than this, and a port that is open otherwise lets nobody in: the expression would be too long.
MAX_EXCLUDED = 100
#: More cached names than this are forgotten together; at some 100 bytes each they are 20 MB.
ENTRIES_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom this mesh believes: its trust domain and root certificates (PEM)."""

    trust_domain: str
    bundle_pem: bytes

    @property
    def fingerprint(self) -> str:
        """A short name for exactly these roots."""
        return fingerprint(self.bundle_pem)


def bundle_secret(trust: Trust) -> Resource:
    """Anybody with a certificate of this trust domain."""
    return PeersSecretBuilder(trust).open(BUNDLE, ())


def roots_secret(trust: Trust) -> Resource:
    """The roots, and no name."""
    return _secret(ROOTS, trust, [])


class PeersSecretBuilder:
    """Builds the lists of peers that are checked in the handshake, and keeps the bytes of their names."""

    def __init__(self, trust: Trust, *, entries_kept: int = ENTRIES_KEPT) -> None:
        self._trust = trust
        self._entries_kept = entries_kept
        self._entries: dict[WorkloadId, bytes] = {}

    def build(self, name: str, peers: Collection[WorkloadId]) -> Resource:
        """Exactly these peers."""
        try:
            listed = list(map(self._entries.__getitem__, peers))
        except KeyError:
            self._remember(peers)
            listed = list(map(self._entries.__getitem__, peers))
        return _secret(name, self._trust, listed or [_listed(StringMatcher(exact=_NOBODY))])

    def _remember(self, peers: Collection[WorkloadId]) -> None:
        """Build the names that are not kept."""
        missing = [peer for peer in peers if peer not in self._entries]
        if len(self._entries) + len(missing) > self._entries_kept:
            self._entries.clear()
            missing = list(peers)
        for peer in missing:
            self._entries[peer] = _listed(StringMatcher(exact=peer.uri(self._trust.trust_domain)))

    def open(self, name: str, excluded: Collection[WorkloadId]) -> Resource:
        """Anybody with a certificate of this trust domain but these."""
        domain = f"spiffe://{self._trust.trust_domain}/"
        if not excluded:
            matcher = StringMatcher(prefix=domain)
        elif len(excluded) <= MAX_EXCLUDED:
            barred = [peer.uri(self._trust.trust_domain).removeprefix(domain) for peer in excluded]
            matcher = StringMatcher(safe_regex=RegexMatcher(regex=re.escape(domain) + all_but(barred)))
        else:
            matcher = StringMatcher(exact=_NOBODY)
        return _secret(name, self._trust, [_listed(matcher)])


def all_but(texts: Iterable[str]) -> str:
    """An expression for every text but these (RE2 and Python alike; RE2 has no negation): it leaves them letter by letter."""
    by_first: dict[str, list[str]] = {}
    for text in sorted(set(texts)):
        by_first.setdefault(text[:1], []).append(text[1:])
    may_end = "" not in by_first
    by_first.pop("", None)
    branches = [re.escape(first) + all_but(rest) for first, rest in by_first.items()]
    others = "[^" + "".join(map(re.escape, by_first)) + "].*" if by_first else ".+"
    return f"(?:{'|'.join([*branches, others])})" + ("?" if may_end else "")


def _listed(matcher: StringMatcher) -> bytes:
    """One entry of ``CertificateValidationContext.match_typed_subject_alt_names`` = 15; any of them is enough."""
    entry = SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=matcher)
    return wire.field(15, entry.SerializeToString(deterministic=True))


def _secret(name: str, trust: Trust, listed: Sequence[bytes]) -> Resource:
    """``Secret``: name = 1, validation_context = 4 (trusted_ca = 1: ``DataSource`` inline_bytes = 2)."""
    parts = [wire.field(1, wire.field(2, trust.bundle_pem)), *listed]
    version = content_hash(wire.text(1, name) + b"".join(parts))
    return resource_from_splice(types.SECRET, name, version, wire.Splice(parts).nest(4, wire.text(1, name)))


def _identity() -> CommonTlsContext:
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TLSv1_3,
            tls_maximum_protocol_version=TlsParameters.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[SdsSecretConfig(name="identity", sds_config=from_agent())],
    )


def downstream(secret: str) -> TransportSocket:
    """The server side: a client certificate is required and checked against a validation secret.

    Sessions are not resumed: a resumed one would skip the check of the peer's name.
    """
    common = _identity()
    common.validation_context_sds_secret_config.CopyFrom(SdsSecretConfig(name=secret, sds_config=from_control_plane()))
    context = DownstreamTlsContext(
        common_tls_context=common,
        require_client_certificate=boolean(on=True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def upstream(trust: Trust, destination: WorkloadId, alpn: str) -> TransportSocket:
    """The client side: the server must prove that it is the destination."""
    common = _identity()
    common.alpn_protocols.append(alpn)
    name = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcher.URI,
        matcher=StringMatcher(exact=destination.uri(trust.trust_domain)),
    )
    common.combined_validation_context.CopyFrom(
        CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=[name]),
            validation_context_sds_secret_config=SdsSecretConfig(name=ROOTS, sds_config=from_control_plane()),
        )
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(UpstreamTlsContext(common_tls_context=common)))
