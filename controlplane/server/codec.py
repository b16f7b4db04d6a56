"""xDS messages to and from bytes. A response is spliced from resources that were serialised once. Never keeps state.

Messages: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto
"""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.xds import wire
from controlplane.xds.subscription import DeltaRequest, DeltaResponse, SotwRequest, SotwResponse


def delta_request(message: discovery_pb2.DeltaDiscoveryRequest) -> DeltaRequest:
    """The parts of a request that the state machine needs."""
    return DeltaRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def sotw_request(message: discovery_pb2.DiscoveryRequest) -> SotwRequest:
    """The parts of a request that the state machine needs."""
    return SotwRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        names=tuple(message.resource_names),
        version=message.version_info,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def delta_response(response: DeltaResponse) -> bytes:
    """``DeltaDiscoveryResponse``: resources = 2, type_url = 4, nonce = 5, removed_resources = 6."""
    parts = [wire.field(2, resource.delta_bytes) for resource in response.resources]
    parts.append(wire.text(4, response.type_url))
    parts.append(wire.text(5, response.nonce))
    parts += [wire.field(6, name.encode()) for name in response.removed]
    return b"".join(parts)


def sotw_response(response: SotwResponse) -> bytes:
    """``DiscoveryResponse``: version_info = 1, resources = 2, type_url = 4, nonce = 5."""
    parts = [wire.text(1, response.version)]
    parts += [wire.field(2, resource.any_bytes) for resource in response.resources]
    parts.append(wire.text(4, response.type_url))
    parts.append(wire.text(5, response.nonce))
    return b"".join(parts)
