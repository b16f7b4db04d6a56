"""Services by name, identity, address and host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.topology.model import (
    Kind,
    Port,
    Service,
    ServiceName,
    Topology,
    UpstreamListener,
    canonical_address,
    is_ip_address,
    parse_service_name,
)

CART = Service(
    ServiceName("shop", "cart"), Kind.SERVICE, (Port(80, "http", 8080), Port(8080, "grpc", 9090)), ("10.1.0.1",), ("10.2.0.1",)
)
BANK = Service(ServiceName("default", "Bank.example.com"), Kind.EXTERNAL, (Port(443, "https", 443),))
FRONT = Service(
    ServiceName("shop", "front"), Kind.GATEWAY,
    upstream_listeners=(
        UpstreamListener(CART.name, 80, "127.0.0.1", 17080),
        UpstreamListener(ServiceName("x", "gone"), 1, "127.0.0.1", 2),
    ),
)  # fmt: skip
TOPOLOGY = Topology.of([CART, BANK, FRONT])


def test_workloads_are_those_that_have_a_sidecar() -> None:
    assert TOPOLOGY.by_workload == {WorkloadId("shop", "cart"): CART, WorkloadId("shop", "front"): FRONT}


def test_external_hosts_are_found_by_name_whatever_its_case() -> None:
    assert TOPOLOGY.by_host == {"bank.example.com": BANK}


def test_the_first_of_two_declarations_of_a_host_counts() -> None:
    again = Service(ServiceName("other", "bank.EXAMPLE.com"), Kind.EXTERNAL)
    assert Topology.of([BANK, again]).by_host == {"bank.example.com": BANK}


@pytest.mark.parametrize(
    ("source", "address", "port", "found"),
    [
        (None, "10.1.0.1", 80, (CART, 80)),
        (None, "10.1.0.1", 8080, (CART, 8080)),
        (None, "10.2.0.1", 9090, (CART, 8080)),
        (None, "10.2.0.1", 8080, (CART, 8080)),
        (None, "10.1.0.1", 9090, (CART, 9090)),
        (None, "10.9.0.1", 80, None),
        (FRONT, "127.0.0.1", 17080, (CART, 80)),
        (FRONT, "127.0.0.1", 2, None),
        (CART, "127.0.0.1", 17080, None),
    ],
    ids=["address", "second port", "endpoint's target", "number before target", "not declared", "unknown", "loopback listener",
         "listener of a service that is gone", "another's listener"],
)  # fmt: skip
def test_a_dialled_address_is_resolved_as_its_source_meant_it(
    source: Service | None, address: str, port: int, found: tuple[Service, int] | None
) -> None:
    assert TOPOLOGY.resolve_dialled(source, address, port) == found


@pytest.mark.parametrize(
    ("text", "name"),
    [("cart", ServiceName("default", "cart")), ("shop/cart", ServiceName("shop", "cart")),
     ("external/api.example.com", ServiceName("external", "api.example.com")),
     ("external/2001:db8::1", ServiceName("external", "2001:db8::1")), ("external/10.0.0.1", ServiceName("external", "10.0.0.1"))],
)  # fmt: skip
def test_a_service_name_is_read(text: str, name: ServiceName) -> None:
    assert parse_service_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "a/b/c", "a b", "external/*", "external/*.com", "external/a:80", "a\n", "host:a", "a/" + "x" * 254],
)
def test_another_text_is_no_service_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a service name"):
        parse_service_name(text)


def test_a_host_whose_name_cannot_be_an_identity_has_none() -> None:
    assert ServiceName("shop", "cart").workload == WorkloadId("shop", "cart")
    assert ServiceName("external", "2001:db8::1").workload is None
    assert ServiceName("external", "x" * 64).workload is None


@given(st.ip_addresses())
def test_an_address_has_one_spelling(address: object) -> None:
    text = canonical_address(str(address))
    assert text is not None
    assert canonical_address(text) == text
    assert canonical_address(str(address).upper()) == text


def test_an_ipv4_address_that_is_written_as_ipv6_is_ipv4() -> None:
    assert canonical_address("::ffff:10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize("text", ["", "a", "1.2.3", "1.2.3.4/32", "fe80::1%eth0", "01.2.3.4", "1.2.3.4 "])
def test_other_texts_are_no_address(text: str) -> None:
    assert not is_ip_address(text)
