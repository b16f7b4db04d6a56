"""What the chart lets the control plane do in a cluster is what the code does there: nothing is missing, and nothing is more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from controlplane.identity.authority import load_or_create
from controlplane.identity.custody import Kept
from controlplane.kubernetes.approvals import Approvals
from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.authority import AuthoritySecret
from controlplane.kubernetes.bundles import TrustBundles
from controlplane.kubernetes.cabundle import CaBundle
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.discovery import Discovery
from controlplane.kubernetes.policies import Policies
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.rules import Mode
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.topology.model import ServiceName
from controlplane.workflow.approved import ApprovedDocument
from tests.controlplane.kubernetes.test_attestation import known, token
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.plane import Plane, plane
from tests.helm.charts import NAMESPACE, rendered

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/?]+)(?:/(?P<name>[^/?]+))?(?P<sub>/[^?]+)?"
)
WATCHED = ("namespaces", "serviceaccounts", "services", "endpointslices", "pods", "trafficpolicies")
Call = tuple[str, str, str, str, str]


def call(method: str, path: str) -> Call:
    """A request as RBAC sees it: verb, group, resource, name and namespace."""
    found = _PATH.match(path)
    assert found is not None, path
    verb = _VERBS.get(method) or ("watch" if "watch=true" in path else "get" if found["name"] else "list")
    return verb, found["group"] or "", found["resource"] + (found["sub"] or ""), found["name"] or "", found["namespace"] or ""


def allows(rule: dict[str, Any], asked: Call) -> bool:
    """Whether a rule lets it be."""
    verb, group, resource, name, _ = asked
    named = rule.get("resourceNames")
    return (
        verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"] and (named is None or name in named)
    )


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """A cluster with something of each kind."""
    with running_api() as made:
        made.put("mutatingwebhookconfigurations", f"{NAMESPACE}-picket", {"webhooks": [{"clientConfig": {}}]})
        made.put("trafficpolicies", "cart", {"spec": {"rules": []}, "metadata": {"generation": 1}}, "shop")
        yield made


async def everything(api: KubernetesApi, *, approvals: bool) -> None:
    """All that the control plane asks of a cluster, once; with ``approvals`` it writes what is approved, too."""
    declared = asyncio.Event()

    async def declare(_: object) -> None:
        declared.set()

    with plane() as parts:
        authority = load_or_create(parts.directory / "ca", "picket.local")
        async with Client(api.config()) as client:
            objects = PolicyObjects(client)
            following = [
                asyncio.create_task(Discovery(client, declare).run()),
                asyncio.create_task(objects.run()),
                asyncio.create_task(Policies(client, objects, parts.review, lambda: parts.publisher.policy).run()),
            ]
            said = token()
            api.tokens[said] = known()
            await TokenReviews(client, "picket", lambda _: None, clock=lambda: 1_900_000_000.0).attest(said)
            roots = [authority.bundle_pem, b"others"]
            bundles = TrustBundles(client, lambda: roots[0])
            assert await bundles.keep("shop")
            roots.reverse()
            assert await bundles.keep("shop")
            assert await CaBundle(client, f"{NAMESPACE}-picket", lambda: authority.bundle_pem).keep()
            async with asyncio.timeout(30):
                await declared.wait()
            custody = AuthoritySecret(client, "picket-ca", "picket.local")
            kept = await custody.load()
            assert isinstance(await custody.save(kept.generations, kept), Kept)
            if approvals:
                await written(client, objects, parts)
            wanted = {("watch", kind) for kind in WATCHED} | {("patch", "trafficpolicies/status")}
            async with asyncio.timeout(30):
                while not wanted <= {call(*asked)[0:3:2] for asked in list(api.requests)}:  # noqa: ASYNC110  # requests ring no bell
                    await asyncio.sleep(0.02)
            for task in following:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*following)


async def written(client: Client, objects: PolicyObjects, parts: Plane) -> None:
    """An object that is made, and goes again."""
    document = ApprovedDocument(TrafficPolicy(ServiceName("shop", "pay"), mode=Mode.AUDIT), 1)
    approved = [document]
    approvals = Approvals(client, objects, lambda _: (1, approved), lambda: {"shop"})
    for _ in range(2):
        await approvals.look()
        async with asyncio.timeout(30):
            while ("shop/pay" in objects.objects) is not bool(approved):  # noqa: ASYNC110  # nobody rings where the watch has heard
                await asyncio.sleep(0.02)
        approved.clear()
    assert approvals.lacking == ()


@pytest.mark.parametrize("approvals", [False, True])
async def test_every_call_is_allowed_and_every_rule_is_used(api: KubernetesApi, *, approvals: bool) -> None:
    """Each verb on each resource, by name where it is limited to names; no more where approvals are not written."""
    await everything(api, approvals=approvals)
    calls = {call(*asked) for asked in api.requests}
    release = rendered({"settings": {"kubernetes-approvals": True}} if approvals else {})
    everywhere, here = release.of("ClusterRole")[0]["rules"], release.of("Role")[0]["rules"]
    for asked in calls:
        given = [*everywhere, *(here if asked[-1] == NAMESPACE else [])]
        assert any(allows(rule, asked) for rule in given), asked
    for rule in (*everywhere, *here):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    single = {**rule, "verbs": [verb], "resources": [resource], "apiGroups": [group]}
                    assert any(allows(single, asked) for asked in calls), (verb, group, resource)


def test_nothing_is_allowed_that_is_not_named() -> None:
    """No star, nothing that grants rights, and of Secrets the authority alone."""
    for role in (*rendered().of("ClusterRole"), *rendered().of("Role")):
        for rule in role["rules"]:
            assert "*" not in {*rule["verbs"], *rule["apiGroups"], *rule["resources"]}
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            if "secrets" in rule["resources"] and rule["verbs"] != ["create"]:
                assert (role["kind"], rule["resourceNames"], rule["verbs"]) == ("Role", ["picket-ca"], ["get", "update"])
