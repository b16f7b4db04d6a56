"""What the demo's processes read says what the plan says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controlplane.demo.documents import application_spec, topology_file
from controlplane.demo.plan import make_plan
from controlplane.demo.preflight import TOPOLOGIES
from controlplane.demo.services.messages import Spec
from controlplane.topology.document import load_topology, parse_topology
from controlplane.topology.model import ServiceName

SHIPPED = sorted(TOPOLOGIES.glob("*.yaml"))
SHOP = b"""
services:
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
- {name: pay.example, kind: external, ports: [{port: 443, protocol: https}]}
"""


@pytest.mark.parametrize("capture", ["redirect", "explicit"])
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_control_plane_reads_the_file_that_is_written_for_it(file: Path, capture: str) -> None:
    """The plan survives the way through the topology file."""
    plan = make_plan(load_topology(file), Path("/tmp/none"), capture, "run", 1)
    read = parse_topology(topology_file(plan), "topology.yaml")
    assert read.topology.services == {name: place.service for name, place in plan.placed.items()}


def test_an_application_is_told_its_ports_and_its_user() -> None:
    """The specification reads back, with a certificate only where TLS is spoken."""
    plan = make_plan(parse_topology(SHOP, "shop.yaml"), Path("/tmp/none"), "redirect", "run", 1)
    external = plan.placed[ServiceName("default", "pay.example")]
    spec = msgspec.json.decode(application_spec(external, (Path("/c"), Path("/k")), 7, (65534, 65533)), type=Spec)
    assert (spec.controller, spec.user, spec.group) == (7, 65534, 65533)
    assert [(port.protocol, port.cert_file, port.key_file) for port in spec.ports] == [("https", "/c", "/k")]
    database = plan.placed[ServiceName("default", "db")]
    spec = msgspec.json.decode(application_spec(database, (Path("/c"), Path("/k")), 7, None), type=Spec)
    assert (spec.user, spec.ports[0].cert_file) == (-1, "")
