"""The Kubernetes objects that the topology is read from, with the fields that it reads and no others. Values only.

Whatever else an object has is left out when it is decoded, so that a large cluster costs little memory.
Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    pass


class Owner(_Wire, frozen=True):
    """Who made an object."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(_Wire, frozen=True):
    """What every object has."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    owner_references: tuple[Owner, ...] = ()

    @property
    def key(self) -> str:
        """Its place among those of its kind."""
        return f"{self.namespace}/{self.name}"


class Object(_Wire, frozen=True):
    """Any of them."""

    metadata: Metadata


class Namespace(Object, frozen=True):
    """A namespace."""


class ServiceAccount(Object, frozen=True):
    """A service account: an identity."""


class ContainerPort(_Wire, frozen=True):
    """A port that a container says it has."""

    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"


class Container(_Wire, frozen=True):
    """A container of a pod."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodOs(_Wire, frozen=True):
    """The system that a pod's containers are for."""

    name: str = ""


class PodSpec(_Wire, frozen=True):
    """What a pod is to be."""

    service_account_name: str = ""
    host_network: bool = False
    os: PodOs | None = None
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIp(_Wire, frozen=True):
    """An address of a pod."""

    ip: str = ""


class ContainerStatus(_Wire, frozen=True):
    """What runs in a container; the image's digest is the part of ``image_id`` behind ``@``."""

    name: str = ""
    image_id: str = msgspec.field(name="imageID", default="")


class PodStatus(_Wire, frozen=True):
    """What a pod is."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIp, ...] | None = msgspec.field(name="podIPs", default=None)
    container_statuses: tuple[ContainerStatus, ...] | None = None


class PodMetadata(Metadata, frozen=True):
    """What a pod has beside: a new one of the same name has another ``uid``."""

    uid: str = ""


class Pod(Object, frozen=True):
    """A pod."""

    metadata: PodMetadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ServicePort(_Wire, frozen=True):
    """A port that a service is dialled at."""

    port: int = 0
    name: str | None = None
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None


class ServiceSpec(_Wire, frozen=True):
    """What a service is."""

    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    external_ips: tuple[str, ...] | None = msgspec.field(name="externalIPs", default=None)
    ports: tuple[ServicePort, ...] | None = None


class Service(Object, frozen=True):
    """A service."""

    spec: ServiceSpec = ServiceSpec()


class Conditions(_Wire, frozen=True):
    """Whether an endpoint takes traffic; unknown counts as yes."""

    ready: bool | None = None


class Target(_Wire, frozen=True):
    """What is behind an endpoint."""

    kind: str = ""
    name: str = ""


class Endpoint(_Wire, frozen=True):
    """One endpoint of a service."""

    addresses: tuple[str, ...] = ()
    conditions: Conditions = Conditions()
    target_ref: Target | None = None


class EndpointPort(_Wire, frozen=True):
    """The real port of a service's port of that name."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = "TCP"


class EndpointSlice(Object, frozen=True):
    """Some endpoints of one service, named by a label."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service(self) -> str:
        """The service's place among services; empty for a slice of none."""
        name = (self.metadata.labels or {}).get("kubernetes.io/service-name", "")
        return f"{self.metadata.namespace}/{name}" if name else ""


@dataclass(frozen=True, slots=True)
class Objects:
    """What a cluster holds at one moment, by `Metadata.key`."""

    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    accounts: Mapping[str, ServiceAccount] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    slices: Mapping[str, EndpointSlice] = field(default_factory=dict)
    pods: Mapping[str, Pod] = field(default_factory=dict)
