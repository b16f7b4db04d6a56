"""What the relay decides, as values: `relay.Relay` returns them and `relayserver.RelayServer` carries them out.

They are `msgspec` structs: a class of them is made in a thirtieth of a dataclass's time, and the agent's start is measured.
"""

from __future__ import annotations

import msgspec

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response


class ToEnvoy(msgspec.Struct, frozen=True):
    """Send this to Envoy."""

    response: Response


class ToUpstream(msgspec.Struct, frozen=True):
    """Send this to the control plane, on the upstream stream that is open."""

    request: Request


class Accepted(msgspec.Struct, frozen=True):
    """Envoy took a response; `Relay.last_good` holds it now and wants to be written down."""

    type_url: str


class Refused(msgspec.Struct, frozen=True):
    """Envoy refused a response and keeps what it had."""

    type_url: str
    message: str
    local: bool


class CloseUpstream(msgspec.Struct, frozen=True):
    """End the upstream stream. With a ``reason`` it broke a bound; without one it only has to begin anew."""

    reason: str = ""


Action = ToEnvoy | ToUpstream | Accepted | Refused | CloseUpstream
