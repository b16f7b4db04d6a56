"""A plan as the files that processes read: the control plane's topology, an application's specification. Writes nothing itself."""

from __future__ import annotations

from pathlib import Path

import msgspec

from controlplane.demo.plan import Placed, Plan
from controlplane.demo.services.messages import Served, Spec
from controlplane.demo.services.protocols import TLS


def topology_file(plan: Plan) -> bytes:
    """The plan as a topology file for the control plane (JSON is YAML)."""
    services = []
    for place in plan.placed.values():
        service = place.service
        item: dict[str, object] = {
            "name": service.name.name,
            "namespace": service.name.namespace,
            "kind": str(service.kind),
            "ports": [{"port": p.number, "protocol": p.protocol, "target_port": p.target} for p in service.ports],
            "addresses": list(service.addresses),
            "endpoints": list(service.endpoints),
            "capture": service.capture,
            "upstreams": [
                {"service": str(u.service), "port": u.port, "listen": f"{u.address}:{u.listen_port}"}
                for u in service.upstream_listeners
            ],
        }
        if service.application is not None:
            item["application"] = service.application
        services.append(item)
    return msgspec.json.format(msgspec.json.encode({"services": services}), indent=1)


def application_spec(place: Placed, certificate: tuple[Path, Path], controller: int, user: tuple[int, int] | None) -> bytes:
    """What the demo's server program is to serve, and as whom."""
    cert_file, key_file = (str(path) for path in certificate)
    ports = []
    for port in place.service.ports:
        files = (cert_file, key_file) if port.protocol in TLS else ("", "")
        ports.append(Served(port.number, port.protocol, place.bind_address, port.target, *files))
    return msgspec.json.encode(Spec(str(place.service.name), str(place.control), controller, ports, *(user or ())))
