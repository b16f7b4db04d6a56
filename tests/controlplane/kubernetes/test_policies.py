"""TrafficPolicy objects against an HTTP server that speaks the API: applied once, told what became of them, never fought over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from controlplane.identity.spiffe import WorkloadId
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.policies import Policies
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName
from controlplane.workflow.revisions import Published
from tests.harness.kubeapi import Json, KubernetesApi
from tests.harness.plane import Plane
from tests.harness.plane import plane as made_plane

CART = ServiceName("shop", "cart")
SPEC: Json = {"mode": "audit", "rules": [{"from": [{"workload": "default/frontend"}], "ports": [7070]}]}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane's parts."""
    with made_plane() as made:
        yield made


def put(api: KubernetesApi, spec: Json, generation: int = 1, name: str = "cart", namespace: str = "shop") -> None:
    """What `kubectl apply` does: the status stays."""
    held = api.objects.get("trafficpolicies", {}).get(f"{namespace}/{name}", {})
    body = {"spec": spec, "metadata": {"generation": generation}, **({"status": held["status"]} if "status" in held else {})}
    api.put("trafficpolicies", name, body, namespace)


def status(api: KubernetesApi, key: str = "shop/cart") -> Json:
    """What an object says of itself."""
    found: Json = api.objects["trafficpolicies"][key].get("status", {})
    return found


def told(api: KubernetesApi, key: str = "shop/cart") -> dict[str, tuple[str, str]]:
    """Its conditions: status and reason by type."""
    return {item["type"]: (item["status"], item["reason"]) for item in status(api, key).get("conditions", ())}


async def settled(
    api: KubernetesApi, plane: Plane, wanted: Json, key: str = "shop/cart", also: Mapping[str, Json] | None = None
) -> None:
    """Run until the conditions of objects are these."""
    expected = {key: wanted, **(also or {})}

    def reached() -> bool:
        with api.changed:
            return api.changed.wait_for(lambda: all(told(api, name) == one for name, one in expected.items()), timeout=30)

    async with Client(api.config()) as client:
        objects = PolicyObjects(client)
        policies = Policies(client, objects, plane.review, lambda: plane.publisher.policy, lambda: NOW)
        running = asyncio.gather(objects.run(), policies.run())
        try:
            assert await asyncio.to_thread(reached), {name: told(api, name) for name in expected}
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


HOLDS = {"Applied": ("True", "Published"), "InForce": ("True", "Same")}


async def test_an_object_is_put_into_force(api: KubernetesApi, plane: Plane) -> None:
    """Rules and mode, with its name in the audit log and the revision in its status."""
    put(api, SPEC)
    await settled(api, plane, HOLDS)
    policy = plane.publisher.policy
    assert [(rule.source, rule.port) for rule in policy.of(CART).rules] == [(WorkloadId("default", "frontend"), 7070)]
    assert policy.mode(CART) is Mode.AUDIT
    assert (status(api)["revision"], status(api)["observedGeneration"]) == (policy.revision, 1)
    assert {item["lastTransitionTime"] for item in status(api)["conditions"]} == {"2026-01-02T03:04:05Z"}
    assert plane.store.audit(1)[0].actor == "kubernetes:shop/cart"


async def test_what_people_decide_afterwards_is_shown_and_not_undone(api: KubernetesApi, plane: Plane) -> None:
    """Also not by a control plane that starts anew; a new generation is what applies again."""
    put(api, SPEC)
    await settled(api, plane, HOLDS)
    assert isinstance(plane.review.rollback(0, "ana", "for a while"), Published)
    await settled(api, plane, {"Applied": ("True", "Published"), "InForce": ("False", "Differs")})
    assert plane.publisher.policy.of(CART).rules == ()
    put(api, SPEC, generation=2)
    await settled(api, plane, HOLDS)
    assert len(plane.publisher.policy.of(CART).rules) == 1
    assert status(api)["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"rules": [{"from": [], "ports": [1]}]}, "spec.rules[0].from"),
        ({"service": "ops/redis", "rules": []}, "another namespace"),
        ({"mode": "sometimes"}, "spec.mode"),
    ],
)
async def test_an_object_that_says_nothing_is_told_so(api: KubernetesApi, plane: Plane, spec: Json, reason: str) -> None:
    """Nobody who may write in one namespace decides about another."""
    put(api, spec)
    await settled(api, plane, {"Applied": ("False", "Invalid"), "InForce": ("False", "Invalid")})
    assert reason in status(api)["conditions"][0]["message"]
    assert plane.publisher.policy.revision == 0


async def test_a_service_that_is_not_there_yet_is_waited_for(api: KubernetesApi, plane: Plane) -> None:
    """The object says why, and the others are applied all the same."""
    put(api, SPEC, name="basket")
    put(api, SPEC)
    refused = {"Applied": ("False", "Refused"), "InForce": ("False", "Differs")}
    await settled(api, plane, refused, "shop/basket", also={"shop/cart": HOLDS})
    assert "there is no service shop/basket" in status(api, "shop/basket")["conditions"][0]["message"]


async def test_a_status_that_is_right_is_not_written_again(api: KubernetesApi, plane: Plane) -> None:
    """Its own write must not wake it for ever."""
    put(api, SPEC)
    await settled(api, plane, HOLDS)
    written = sum(method == "PATCH" for method, _ in api.requests)
    put(api, SPEC, name="pay")
    await settled(api, plane, HOLDS, "shop/pay")
    assert sum(method == "PATCH" for method, _ in api.requests) == written + 1
