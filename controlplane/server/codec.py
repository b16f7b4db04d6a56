"""xDS messages to and from bytes. A response is spliced from resources that were serialised once. Never keeps state.

A request comes from outside: what it names is bounded here, before anything remembers it.
Messages: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError

from controlplane.xds import wire
from controlplane.xds.subscription import MAX_NAMES, DeltaRequest, DeltaResponse, SotwRequest, SotwResponse

#: Names of resources, versions and nonces are ours, or a client's wish for one of ours.
MAX_NAME_CHARACTERS = 512
MAX_ERROR_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request that is not read, and why."""

    reason: str


def delta_request(body: bytes) -> tuple[str, DeltaRequest] | BadRequest:
    """The node's ID (empty after the first request), and what the state machine needs."""
    message = DeltaDiscoveryRequest()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return BadRequest("not a DeltaDiscoveryRequest")
    subscribe, unsubscribe = tuple(message.resource_names_subscribe), tuple(message.resource_names_unsubscribe)
    versions = dict(message.initial_resource_versions)
    wrong = _out_of_bounds(message.type_url, message.response_nonce, *subscribe, *unsubscribe, *versions, *versions.values())
    if wrong:
        return BadRequest(wrong)
    error = _error(message)
    request = DeltaRequest(message.type_url, message.response_nonce, subscribe, unsubscribe, versions, error)
    return message.node.id, request


def sotw_request(body: bytes) -> tuple[str, SotwRequest] | BadRequest:
    """The node's ID (empty after the first request), and what the state machine needs."""
    message = DiscoveryRequest()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return BadRequest("not a DiscoveryRequest")
    names = tuple(message.resource_names)
    wrong = _out_of_bounds(message.type_url, message.response_nonce, message.version_info, *names)
    if wrong:
        return BadRequest(wrong)
    return message.node.id, SotwRequest(message.type_url, message.response_nonce, names, message.version_info, _error(message))


def _error(message: DeltaDiscoveryRequest | DiscoveryRequest) -> str | None:
    """Why a response was refused; ``None`` where none was. Stored and shown: no zero, which PostgreSQL refuses, no escapes."""
    if not message.HasField("error_detail"):
        return None
    said = message.error_detail.message[:MAX_ERROR_CHARACTERS]
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in said)


def _out_of_bounds(*texts: str) -> str:
    """What is wrong with the names of a request; empty when nothing is."""
    if len(texts) > 2 * MAX_NAMES + 8:
        return f"more than {MAX_NAMES} names"
    return next((f"a name longer than {MAX_NAME_CHARACTERS} characters" for text in texts if len(text) > MAX_NAME_CHARACTERS), "")


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
