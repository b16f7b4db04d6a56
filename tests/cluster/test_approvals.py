"""Approvals written to a real API server, with the chart's rights: its own conflicts, its own schema, its own `kubectl`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from lightkube import KubeConfig

from controlplane.kubernetes.approvals import Approvals
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.policies import Policies
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.traffic_documents import read_documents
from controlplane.workflow.approved import ApprovedDocuments
from controlplane.workflow.revisions import Published
from tests.harness.apiserver import ApiServer, lacking, running_apiserver
from tests.harness.directories import short_directory
from tests.harness.plane import Plane
from tests.harness.plane import plane as made_plane
from tests.helm.charts import NAMESPACE, rendered

SECONDS = 60
WRITTEN = {"Written": "True", "InForce": "True"}
CONFLICT = {"Written": "False", "InForce": "False"}
pytestmark = pytest.mark.e2e
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server with the CRD, the chart's account and its rights, and the namespace `shop`."""
    if missing := lacking("etcd", "kube-apiserver", "kubectl"):
        pytest.skip(f"needs {', '.join(missing)} in KUBEBUILDER_ASSETS or on PATH: make kubernetes builds them")
    kinds = {"CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"}
    objects = [item for item in rendered({"settings": {"kubernetes-approvals": True}}).objects if item["kind"] in kinds]
    with short_directory("kube") as directory, running_apiserver(directory) as made:
        for name in (NAMESPACE, "shop"):
            made.kubectl("create", "namespace", name)
        made.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        made.kubectl("wait", "--for=condition=Established", "crd/trafficpolicies.picket.dev", "--timeout=60s")
        yield made


@dataclass
class Written:
    """A control plane that writes and puts into force."""

    server: ApiServer
    plane: Plane
    held: PolicyObjects

    def approve(self, source: str) -> None:
        """Have `shop/cart` called by somebody else."""
        text = f"""
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: cart, namespace: shop}}
spec:
  rules:
  - from: [{{workload: {source}}}]
    ports: [7070]
    http: [{{method: POST, path: "/x/{{id}}"}}]
    lease: {{owner: a, expires: 2099-01-31}}
"""
        reading = read_documents(text.encode(), "test.yaml")
        assert not reading.findings
        assert isinstance(self.plane.review.documents.apply(reading.documents, "ana"), Published)
        self.held.ring()

    def shown(self) -> Json:
        """The object, as kubectl shows it; nothing where there is none."""
        shown = self.server.tried("get", "trafficpolicy", "-n", "shop", "cart", "-o", "json")
        found: Json = json.loads(shown.stdout) if shown.returncode == 0 else {}
        return found

    async def until(self, source: str, conditions: dict[str, str]) -> Json:
        """The object, once it lets this source in and says so."""
        found: Json = {}

        def is_so() -> bool:
            rules = found.get("spec", {}).get("rules") or [{"from": [{"workload": ""}]}]
            status = found.get("status", {})
            told = {item["type"]: item["status"] for item in status.get("conditions", ())}
            seen = status.get("observedGeneration") == found.get("metadata", {}).get("generation")
            return (rules[0]["from"][0]["workload"], told, seen) == (source, conditions, True)

        async with asyncio.timeout(SECONDS):
            while not is_so():
                found = await asyncio.to_thread(self.shown)
        return found


@pytest.fixture
async def written(server: ApiServer) -> AsyncIterator[Written]:
    """It runs, by the account of the chart."""
    token = server.kubectl("create", "token", "picket", "--namespace", NAMESPACE, "--duration", "1h").strip()
    config = KubeConfig.from_file(str(server.kubeconfig("approvals", token, NAMESPACE)))
    with made_plane() as plane:
        async with Client(config) as client:
            held = PolicyObjects(client)
            documents = ApprovedDocuments(plane.store, plane.publisher)
            approvals = Approvals(client, held, documents.of, lambda: {"shop"})
            policies = Policies(client, held, plane.review, lambda: plane.publisher.policy)
            running = asyncio.gather(held.run(), approvals.run(), policies.run())
            yield Written(server, plane, held)
            running.cancel()
            await asyncio.wait({running})


async def test_approvals_flow_out_and_are_never_written_over_others(server: ApiServer, written: Written) -> None:
    """From the first approval over a conflict to the end of it, and back in where the label is taken away."""
    written.approve("default/frontend")
    made = await written.until("default/frontend", WRITTEN)
    assert made["metadata"]["annotations"] == {"picket.dev/revision": "1"}
    assert made["status"]["revision"] == 1
    written.approve("shop/pay")
    made = await written.until("shop/pay", WRITTEN)
    (entry,) = [item for item in json.loads(managed(server))["metadata"]["managedFields"] if not item.get("subresource")]
    assert (entry["manager"], entry["operation"]) == ("picket", "Apply")
    assert "picket" in server.kubectl("get", "trafficpolicies", "-n", "shop", "-L", "app.kubernetes.io/managed-by")

    change = {"spec": {"rules": [{"from": [{"workload": "evil/one"}], "ports": [1]}]}}
    server.kubectl("patch", "trafficpolicy", "-n", "shop", "cart", "--type=merge", "-p", json.dumps(change))
    told = await written.until("evil/one", CONFLICT)
    assert "kubectl-patch changed" in told["status"]["conditions"][0]["message"]
    written.approve("default/frontend")
    await asyncio.sleep(1)
    assert (await written.until("evil/one", CONFLICT))["metadata"]["generation"] == told["metadata"]["generation"]
    assert written.plane.publisher.policy.revision == 3

    server.kubectl("delete", "trafficpolicy", "-n", "shop", "cart")
    await written.until("default/frontend", WRITTEN)
    server.kubectl("label", "trafficpolicy", "-n", "shop", "cart", "app.kubernetes.io/managed-by-")
    await written.until("default/frontend", {"Applied": "True", "InForce": "True"})
    server.kubectl("patch", "trafficpolicy", "-n", "shop", "cart", "--type=merge", "-p", json.dumps(change))
    await written.until("evil/one", {"Applied": "True", "InForce": "True"})
    assert written.plane.publisher.policy.revision == 4

    server.kubectl("delete", "trafficpolicy", "-n", "shop", "cart")
    await written.until("evil/one", WRITTEN)
    assert isinstance(written.plane.review.rollback(0, "ana", "nothing"), Published)
    written.held.ring()
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(written.shown):
            pass


def managed(server: ApiServer) -> str:
    """The object with whose fields are whose."""
    return server.kubectl("get", "trafficpolicy", "-n", "shop", "cart", "-o", "json", "--show-managed-fields")
