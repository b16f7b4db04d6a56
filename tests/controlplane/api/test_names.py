"""Services by their full name, or by their bare one where it is clear which is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.names import destination_named, end_named, service_named
from controlplane.api.problems import ApiProblemError
from controlplane.topology.model import Kind, Service, ServiceName, Topology, parse_service_name

MESH = Topology.of(
    Service(ServiceName(namespace, name), Kind.SERVICE)
    for namespace, name in (("default", "cart"), ("shop", "cart"), ("shop", "pay"), ("shop", "db"), ("ops", "db"))
)
OUTSIDE = Topology.of([*MESH.services.values(), Service(ServiceName("partners", "Bank.example"), Kind.EXTERNAL)])


@pytest.mark.parametrize(
    ("text", "name"),
    [("shop/cart", ("shop", "cart")), ("pay", ("shop", "pay")), ("cart", ("default", "cart")), ("ops/db", ("ops", "db"))],
)
def test_a_service_is_found(text: str, name: tuple[str, str]) -> None:
    """A bare name means the namespace `default` where that has it, as it does everywhere."""
    assert service_named(MESH, text, "query") == name
    assert end_named(MESH, text) == "/".join(name)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("db", "db is in several namespaces: ops/db, shop/db"),
        ("shop/none", "there is no service shop/none"),
        ("", "there is no service "),
        ("/", "there is no service /"),
        ("shop/cart/x", "there is no service shop/cart/x"),
    ],
)
def test_what_is_not_clear_is_told(text: str, detail: str) -> None:
    with pytest.raises(ApiProblemError) as told:
        service_named(MESH, text, "query.service")
    assert (told.value.problem.detail, told.value.problem.where, told.value.problem.status) == (detail, "query.service", 404)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(ApiProblemError) as told:
        service_named(MESH, "shop/carts", "query.service")
    assert told.value.problem.remedy == "did you mean shop/cart?"


@pytest.mark.parametrize("text", ["", "ip:10.0.0.1", "a/b", "host:x"])
def test_an_end_that_is_no_bare_name_stays(text: str) -> None:
    assert end_named(MESH, text) == text


def test_an_unknown_bare_name_is_of_the_default_namespace() -> None:
    assert end_named(MESH, "gone") == "default/gone"
    assert end_named(MESH, "db") == "default/db"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pay", ("shop", "pay")), ("external/api.example", ("external", "api.example")),
        ("external/API.Example", ("external", "api.example")), ("external/bank.example", ("partners", "Bank.example")),
        ("external/203.0.113.7", ("external", "203.0.113.7")), ("external/2001:DB8::0:1", ("external", "2001:db8::1")),
    ],
)  # fmt: skip
def test_a_host_outside_needs_no_declaration(text: str, name: tuple[str, str]) -> None:
    """It has the name by which flows to it are recorded: that of its declaration where there is one."""
    assert destination_named(OUTSIDE, text, "body") == name


@pytest.mark.parametrize("text", ["external/", "external/a b", "external/a/b", "external/.", "external/*.example"])
def test_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(ApiProblemError) as told:
        destination_named(OUTSIDE, text, "body")
    assert (told.value.problem.status, told.value.problem.remedy) == (422, "write external/HOST with a host name or an address")


@pytest.mark.parametrize(("text", "host"), [("API.example", "api.example"), ("203.0.113.7", "203.0.113.7"), ("::1", "::1")])
def test_a_bare_host_is_told_how_to_write_it(text: str, host: str) -> None:
    """A mistyped service must not become a host without a word."""
    with pytest.raises(ApiProblemError) as told:
        destination_named(OUTSIDE, text, "body")
    assert (told.value.problem.status, told.value.problem.remedy) == (404, f"for a host outside the mesh write external/{host}")


@given(st.text(max_size=300))
def test_any_text_is_a_known_service_a_host_or_a_problem(text: str) -> None:
    for written in (text, f"external/{text}"):
        try:
            found = destination_named(OUTSIDE, written, "body")
        except ApiProblemError:
            continue
        assert found in OUTSIDE.services or (found.namespace == "external" and parse_service_name(str(found)) == found)
