"""The typed view: `envoy-data-plane` reads every byte that is compiled, as the library that wrote it does."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as PackedAny

import controlplane.demo
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.document import load_topology
from controlplane.xds import types
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.tls import Trust

# envoy-data-plane does what pydantic has deprecated, when it is imported: in the tests, where it may.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")

SHOP = load_topology(Path(controlplane.demo.__file__).with_name("topologies") / "bookinfo.yaml").topology
TRUST = Trust("picket.test", b"-----BEGIN CERTIFICATE-----\n")


@pytest.fixture
def typed_view() -> ModuleType:
    """The module, imported where its library may do what is deprecated."""
    return importlib.import_module("controlplane.api.decoded")


def snapshot(mode: Mode) -> Snapshot:
    """What the ratings service of Bookinfo is told, with rules of every shape."""
    name = next(name for name in SHOP.services if name.name == "ratings")
    reviews = WorkloadId("default", "reviews")
    http = (HttpMatch("GET", "/ratings/{id}"), HttpMatch("GET", "/health"), HttpMatch("", "/static/*"), HttpMatch("POST"))
    mongo = next(name for name in SHOP.services if name.name == "mongodb")
    policy = Policy(
        3,
        {
            name: ServicePolicy(name, (Rule(reviews, 9080, http), Rule(AddressSource("10.0.0.0/8"), 9080)), 3),
            mongo: ServicePolicy(mongo, (Rule(SHOP.services[name].workload, 27017),), 3),
        },
        dict.fromkeys(SHOP.services, mode),
    )
    made = Compiler(TRUST).compile_snapshot(policy, SHOP, SHOP.services[name].workload)
    assert made is not None
    return made


def normal(value: Any) -> Any:
    """Protobuf JSON allows more than one way to write some values: bring them to one."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, str) and value.endswith("s") and value[:-1].replace(".", "", 1).isdigit():
        return f"{float(value[:-1]):g}s"
    return value


@pytest.mark.parametrize("mode", list(Mode))
def test_both_libraries_read_the_same(typed_view: ModuleType, mode: Mode) -> None:
    compiled = snapshot(mode)
    views = {(view.type, view.name): view for view in typed_view.decode(compiled)}
    assert len(views) == sum(len(by_name) for by_name in compiled.resources.values())
    for type_url, by_name in compiled.resources.items():
        for name, resource in by_name.items():
            view = views[types.SHORT_NAMES[type_url], name]
            assert view.version == resource.version
            read = typed_view._decode_by_descriptors(resource.any_bytes)
            assert normal(view.content) == normal(read)
            assert "undecoded" not in read
            if b"IPMatcher" not in resource.any_bytes:
                assert normal(typed_view.decode_typed(resource.any_bytes)) == normal(read)


def test_an_unknown_type_is_named_and_not_shown(typed_view: ModuleType) -> None:
    packed = PackedAny(type_url="type.googleapis.com/no.such.package.v9.Thing", value=b"\x0a\x01x")
    shown = typed_view.decode_any(packed.SerializeToString())
    assert shown["@type"] == "type.googleapis.com/no.such.package.v9.Thing"
    assert "Thing" in shown["undecoded"]


def test_bytes_that_are_no_message_are_named(typed_view: ModuleType) -> None:
    type_url = "type.googleapis.com/envoy.config.listener.v3.Listener"
    shown = typed_view.decode_any(PackedAny(type_url=type_url, value=b"\x0a\xff").SerializeToString())
    assert shown["@type"] == type_url
    assert "undecoded" in shown


def test_the_order_is_that_of_pushes(typed_view: ModuleType) -> None:
    kinds = [view.type for view in typed_view.decode(snapshot(Mode.ENFORCE))]
    order = [types.SHORT_NAMES[type_url] for type_url in types.PUSH_ORDER]
    assert kinds == sorted(kinds, key=order.index)
    assert {view.type for view in typed_view.decode(snapshot(Mode.ENFORCE), "LDS")} == {"LDS"}
