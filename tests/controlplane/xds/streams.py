"""Small snapshots, and what tests say to and read from the state machines of streams."""

from __future__ import annotations

from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot, resource_from_bytes
from controlplane.xds.subscription import DeltaRequest, DeltaResponse, Event, SotwRequest, SotwResponse


def resource(type_url: str, name: str, body: str = "1", *needs: tuple[str, str]) -> Resource:
    """A resource whose version follows its body."""
    return resource_from_bytes(type_url, name, body.encode(), needs)


def snapshot(*resources: Resource) -> Snapshot:
    """A snapshot of these."""
    return Snapshot.of(resources)


def full(version: str, *, without_cluster: bool = False) -> Snapshot:
    """A listener and, unless it is to go, the cluster it used."""
    resources = [resource(types.LISTENER, "l", version)]
    if not without_cluster:
        resources.append(resource(types.CLUSTER, "c", version))
    return snapshot(*resources)


def responses(events: list[Event]) -> list[tuple[str, list[str], list[str]]]:
    """Type, resources and removals of each response."""
    return [
        (types.SHORT_NAMES[e.type_url], [r.name for r in e.resources], list(e.removed) if isinstance(e, DeltaResponse) else [])
        for e in events
        if isinstance(e, DeltaResponse | SotwResponse)
    ]


def delta(events: list[Event]) -> DeltaResponse:
    """The one delta response among events."""
    (found,) = [event for event in events if isinstance(event, DeltaResponse)]
    return found


def sotw(events: list[Event]) -> SotwResponse:
    """The one state-of-the-world response among events."""
    (found,) = [event for event in events if isinstance(event, SotwResponse)]
    return found


def ack(answered: DeltaResponse) -> DeltaRequest:
    """An ACK."""
    return DeltaRequest(answered.type_url, nonce=answered.nonce)


def nack(answered: DeltaResponse, message: str = "bad") -> DeltaRequest:
    """A NACK."""
    return DeltaRequest(answered.type_url, nonce=answered.nonce, error=message)


def sotw_ack(answered: SotwResponse, *names: str) -> SotwRequest:
    """An ACK, with the names that stay subscribed."""
    return SotwRequest(answered.type_url, answered.nonce, names, answered.version)


def sotw_nack(answered: SotwResponse, *names: str) -> SotwRequest:
    """A NACK."""
    return SotwRequest(answered.type_url, answered.nonce, names, "", "bad")
