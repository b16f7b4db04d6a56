"""Services by their full name, or by their bare one where it is clear which is meant."""

from __future__ import annotations

import pytest

from controlplane.api.names import end_named, service_named
from controlplane.api.problems import ApiProblemError
from controlplane.topology.model import Kind, Service, ServiceName, Topology

MESH = Topology.of(
    Service(ServiceName(namespace, name), Kind.SERVICE)
    for namespace, name in (("default", "cart"), ("shop", "cart"), ("shop", "pay"), ("shop", "db"), ("ops", "db"))
)


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
