"""Names of resources, so that two parts of the configuration mean the same thing by them. Never builds one."""

from __future__ import annotations

from controlplane.topology.model import ServiceName

#: Clusters whose destination has a sidecar: that sidecar reports the flow.
MESH_PREFIX = "mesh|"
BLACKHOLE = "blackhole"
PASSTHROUGH = "passthrough"
#: The own application's ports that the topology does not name.
UNDECLARED = "undeclared"


def mesh_cluster(service: ServiceName, port: int, *, inspected_http: bool = False) -> str:
    """The cluster of a meshed service's port."""
    return f"{MESH_PREFIX}{service}|{port}" + ("|http" if inspected_http else "")


def external_cluster(service: ServiceName, port: int) -> str:
    """The cluster of an external host's port."""
    return f"external|{service}|{port}"


def application_cluster(port: int) -> str:
    """The cluster of the sidecar's own application."""
    return f"app|{port}"


def allow_list(port: int, *, http: bool, plaintext: bool) -> str:
    """The ECDS filter of one port."""
    return f"allow/{port}/{'http' if http else 'tcp'}" + ("/plaintext" if plaintext else "")


def peers(port: int) -> str:
    """The SDS validation context of one opaque port."""
    return f"peers/{port}"


def egress_route(port: int | None) -> str:
    """The RDS route configuration for hosts outside the mesh, dialled at a port; ``None`` for any other port."""
    return f"egress/{port if port is not None else 'any'}"
