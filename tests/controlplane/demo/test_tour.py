"""The calls of a demo, how their arrival is known, and how they are found in the log."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controlplane.api.schemas import HttpMatch, MapEdge, Violation
from controlplane.demo.plan import Plan, Use, make_plan
from controlplane.demo.tour import Arrived, Attempt, Stolen, Tour, mixed, recorded, unseen
from controlplane.topology.document import parse_topology
from controlplane.topology.model import ServiceName

SHOP = b"""
services:
- {name: web, kind: gateway, ports: []}
- {name: cart, kind: service, ports: [{port: 7070, protocol: grpc}]}
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
- {name: pay.example, kind: external, ports: [{port: 443, protocol: https}]}
edges:
- {from: web, to: cart, port: 7070, protocol: grpc, requests: [{method: POST, path: /s.Cart/Get}]}
- {from: pay.example, to: db, port: 3306, protocol: mysql}
"""
WEB, CART, DB = (ServiceName("default", name) for name in ("web", "cart", "db"))


@pytest.fixture
def plan() -> Plan:
    """A small plan."""
    return make_plan(parse_topology(SHOP, "shop.yaml"), Path("/tmp/none"), "redirect", "run", 1)


@pytest.fixture
def tour(plan: Plan) -> Tour:
    """Its tour."""
    return Tour(plan, Path("/authority.pem"))


def violation(attempt: Attempt, **others: object) -> Violation:
    """What the log holds of an attempt that was blocked."""
    made = Violation(
        id=1, source=attempt.source, destination=str(attempt.use.destination), port=attempt.use.port, protocol="", method="",
        path="", verdict="denied", deny_id="", count=1, first_seen_ms=1, last_seen_ms=1, reporter="", direction=attempt.direction,
        host="", server_name="", peer_address="", reason="",
    )  # fmt: skip
    return msgspec.structs.replace(made, **others)


def test_every_call_has_a_marker_of_its_own(tour: Tour) -> None:
    """Also when the same thing is called again."""
    attempts = [*tour.expected(), *tour.expected(), *tour.unexpected()]
    assert len({attempt.order.marker for attempt in attempts}) == len(attempts)


def test_a_source_outside_the_mesh_calls_from_its_own_address(tour: Tour, plan: Plan) -> None:
    """That address is all that the mesh knows of it."""
    outside = next(attempt for attempt in tour.expected() if attempt.use.destination == DB)
    assert outside.order.source_address == outside.caller.address
    assert (outside.source, outside.direction) == (f"ip:{outside.caller.address}", "in")


def test_bypass_is_every_pair_with_a_stolen_identity_and_every_port_with_none(tour: Tour, plan: Plan) -> None:
    """Straight to the destination's sidecar, never from the source's own place."""
    stolen = {place.service.name: Stolen(f"/{place.index}", "/peers") for place in plan.meshed}
    attempts = list(tour.bypass(stolen))
    pairs = [use for use in plan.unexpected() if plan.placed[use.destination].service.meshed]
    named = [attempt for attempt in attempts if attempt.order.identity_file]
    assert [attempt.use for attempt in named] == pairs
    nameless = [attempt for attempt in attempts if not attempt.order.identity_file]
    assert sorted((a.use.destination, a.use.port) for a in nameless) == [(CART, 7070), (DB, 3306)]
    for attempt in attempts:
        assert attempt.caller in plan.intruders
        assert (attempt.order.address, attempt.order.port) == plan.endpoint(attempt.use)
    assert all(attempt.source == f"ip:{attempt.caller.address}" for attempt in nameless)
    assert {attempt.source for attempt in named} == {str(place.service.name) for place in plan.meshed}


def test_an_attempt_is_recorded_only_where_everything_fits(tour: Tour) -> None:
    """Another source, port or side, or a mere would-deny, is not it."""
    attempt = tour.unexpected()[0]
    assert recorded([attempt], [violation(attempt)]) == [attempt]
    others = {"source": "default/other", "port": 1, "direction": "in", "destination": "default/other", "verdict": "would-deny"}
    for name, value in others.items():
        assert recorded([attempt], [violation(attempt, **{name: value})]) == []


def test_a_call_that_arrives_anywhere_is_delivered(tour: Tour) -> None:
    """A declared one has to arrive where it was meant to; one that must not arrive must not arrive anywhere."""
    attempt = next(attempt for attempt in tour.unexpected() if attempt.use.destination == CART)
    arrived = Arrived(frozenset({(DB, attempt.order.marker)}), {})
    assert not arrived.at_its_destination(attempt)
    assert arrived.anywhere([attempt]) == [attempt]
    assert Arrived(frozenset({(CART, attempt.order.marker)}), {}).at_its_destination(attempt)
    assert Arrived(frozenset(), {}).anywhere([attempt]) == []


def test_calls_are_mixed_evenly() -> None:
    """Neither kind waits for the other to be done."""
    assert "".join(mixed("aaaa", "bb", "")) == "abaaba"  # type: ignore[arg-type]  # letters show it best


def edge(*http: HttpMatch) -> MapEdge:
    """A learned edge from web to cart."""
    return MapEdge(
        source="default/web", destination="default/cart", port=7070, protocol="grpc", http=list(http), count=1, first_seen_ms=1,
        last_seen_ms=1, approved=False, learned=True, mode="learn",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("use", "learned", "is_seen"),
    [
        (Use(WEB, CART, 7070, "grpc", "POST", "/s.Cart/Get"), edge(HttpMatch("POST", "/s.Cart/Get")), True),
        (Use(WEB, CART, 7070, "grpc", "POST", "/s.Cart/Get"), edge(HttpMatch("POST", "")), True),
        (Use(WEB, CART, 7070, "grpc", "POST", "/s.Cart/Get"), edge(HttpMatch("POST", "/s.Cart/Add")), False),
        (Use(WEB, CART, 7070, "grpc", "POST", "/s.Cart/Get"), edge(), False),
        (Use(WEB, CART, 7070, "http", "GET", "/a"), edge(HttpMatch("GET", "")), True),
        (Use(WEB, CART, 7070, "http", "PUT", "/a"), edge(HttpMatch("GET", "")), False),
        (Use(WEB, CART, 7070, "redis", "", ""), edge(), True),
        (Use(WEB, CART, 7070, "https", "GET", "/"), edge(), True),
        (Use(WEB, CART, 7071, "redis", "", ""), edge(), False),
    ],
)
def test_a_request_is_seen_when_its_method_is(use: Use, learned: MapEdge, *, is_seen: bool) -> None:
    """An edge that lacks one of its requests would be approved without it."""
    found = unseen([use], {(learned.source, learned.destination, learned.port): learned})
    assert found == ([] if is_seen else [use])
