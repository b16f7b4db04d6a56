"""Small constructors for Envoy messages that several parts of a configuration share. Never decides what goes into them."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, config_source_pb2, extension_pb2, grpc_service_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2
from google.protobuf.message import Message


def pack(message: Message) -> any_pb2.Any:
    """A message as ``Any``, with deterministic bytes."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def extension(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """A named, typed extension."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=pack(message))


def seconds(value: float) -> duration_pb2.Duration:
    """A duration."""
    whole = int(value)
    return duration_pb2.Duration(seconds=whole, nanos=round((value - whole) * 1e9))


def uint32(value: int) -> wrappers_pb2.UInt32Value:
    """An optional unsigned number that is set."""
    return wrappers_pb2.UInt32Value(value=value)


def boolean(*, on: bool) -> wrappers_pb2.BoolValue:
    """An optional boolean that is set."""
    return wrappers_pb2.BoolValue(value=on)


def socket_address(host: str, port: int) -> address_pb2.Address:
    """A TCP address."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def from_control_plane() -> config_source_pb2.ConfigSource:
    """Fetched over the aggregated stream; a listener waits for it, for as long as it takes."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=seconds(0),
    )


def from_agent() -> config_source_pb2.ConfigSource:
    """Fetched from the sidecar's own agent, over the Unix socket that its bootstrap names ``agent``."""
    return config_source_pb2.ConfigSource(
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.DELTA_GRPC,
            transport_api_version=config_source_pb2.ApiVersion.V3,
            grpc_services=[grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name="agent"))],
        ),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=seconds(0),
    )
