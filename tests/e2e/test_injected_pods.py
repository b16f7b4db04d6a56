"""Injected pods, started for real without a cluster: the demo's checks of enforcement pass behind the webhook's own sidecars."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from controlplane.demo import network, preflight
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed, Plan, make_plan
from controlplane.demo.processes import APPLICATION_USER, CONTROL_PLANE, Processes
from controlplane.demo.progress import Progress
from controlplane.demo.report import Report
from controlplane.demo.reviewer import Reviewer
from controlplane.demo.stages import Stages
from controlplane.demo.traces import Traces
from controlplane.kubernetes.injection.decide import Injected, decide
from controlplane.kubernetes.injection.review import PodCreation
from controlplane.kubernetes.injection.rules import Rules
from controlplane.kubernetes.names import TRUST_BUNDLE, TRUST_BUNDLE_KEY
from controlplane.topology.document import parse_topology
from tests.controlplane.kubernetes.test_attestation import known, token
from tests.controlplane.kubernetes.test_running import kubeconfig
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.kubeobjects import pod
from tests.harness.pods import Json, Node, Pod

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(network.is_possible()), reason=network.is_possible() or "can run")]
#: HTTP, gRPC, a server that speaks first, and who may call nobody.
TOPOLOGY = b"""
services:
- {name: web, kind: gateway, ports: [{port: 80, protocol: http}]}
- {name: cart, kind: service, ports: [{port: 7070, protocol: grpc}]}
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
- {name: batch, kind: service, ports: []}
edges:
- {from: web, to: cart, port: 7070, protocol: grpc, requests: [{method: POST, path: /shop.Cart/GetCart}]}
- {from: cart, to: db, port: 3306, protocol: mysql}
"""


class PodProcesses(Processes):
    """The demo's processes, with each service as the pod that the webhook makes of it."""

    def __init__(self, plan: Plan, traces: Traces, certificate: tuple[Path, Path], api: KubernetesApi) -> None:
        super().__init__(plan, traces, certificate)
        self.pods: dict[str, Pod] = {}
        self._api = api
        self._environments: dict[str, Mapping[str, str]] = {}
        # An intruder's place is beside every pod, as a node is.
        self._node = plan.intruders[0].namespace
        self._rules = Rules(
            image="picket", own_namespace="picket-system",
            environment={
                "PICKET_SIDECAR_CONTROL_PLANE": f"unix:{self.root}/grpc.sock",
                "PICKET_SIDECAR_ENROLLMENT": f"unix:{self.root}/enroll.sock",
                "PICKET_SIDECAR_REPORT_INTERVAL_SECONDS": "0.5",
            },
        )  # fmt: skip

    def service(self, place: Placed, join: Path | None) -> None:
        """Start the pod, where it is to have a sidecar."""
        if join is None:
            super().service(place, None)
            return
        command = self._application(place, None)
        for directory in (place.own, place.directory / "pod"):
            directory.mkdir(exist_ok=True)
        os.chown(place.own, *APPLICATION_USER)
        account = place.service.name.name
        made = self._reviewed(place, account, command)
        node = Node(self._node, self._begun, lambda source: self._projected(source, place, account))
        begun = Pod(made, node, place.namespace, place.address, place.directory / "pod")
        self.pods[account] = begun
        place.state.symlink_to(begun.volumes["picket-state"] / "sidecar")
        begun.start()

    def _reviewed(self, place: Placed, account: str, command: list[str]) -> Json:
        """The service's pod after the webhook."""
        container: Json = {
            "name": "app", "image": "demo", "command": command,
            "securityContext": {"runAsUser": APPLICATION_USER[0], "runAsGroup": APPLICATION_USER[1]},
        }  # fmt: skip
        if place.service.ports:
            container["readinessProbe"] = {"tcpSocket": {"port": place.service.ports[0].target}, "timeoutSeconds": 5}
        asked: Json = {
            "metadata": {"name": place.namespace, "namespace": place.service.name.namespace},
            "spec": {"serviceAccountName": account, "terminationGracePeriodSeconds": 5, "containers": [container]},
        }
        decided = decide(PodCreation("u", place.service.name.namespace, asked), self._rules)
        assert isinstance(decided, Injected)
        changed: Json = jsonpatch.apply_patch(copy.deepcopy(asked), list(decided.patch))
        return changed

    def _projected(self, source: Json, place: Placed, account: str) -> Mapping[str, bytes]:
        if "configMap" in source:
            assert source["configMap"]["name"] == TRUST_BUNDLE
            return {TRUST_BUNDLE_KEY: (self.data / "ca" / "ca.pem").read_bytes()}
        asked = source["serviceAccountToken"]
        said = token(asked["audience"], time.time() + asked["expirationSeconds"], {"pod": place.namespace})
        namespace, name = place.service.name.namespace, place.namespace
        self._api.put("pods", name, pod(name, "", account), namespace)
        self._api.tokens[said] = known(f"system:serviceaccount:{namespace}:{account}", (name, f"uid-{namespace}/{name}"))
        return {asked["path"]: said.encode()}

    def _begun(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self._start(name, ["env", "-i", *(f"{key}={value}" for key, value in environment.items()), *command])

    def _start(self, name: str, command: Any) -> None:
        super()._start(name, [*command, "--kubernetes"] if name == CONTROL_PLANE else command)


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """What reviews the pods' tokens."""
    with running_api() as made:
        yield made


@pytest.fixture
def traces() -> Iterator[Traces]:
    """A demo's directory, removed afterwards with everything that was started."""
    made = Traces()
    try:
        yield made
    finally:
        made.clean()


async def test_injected_pods_enforce_what_the_demo_enforces(
    api: KubernetesApi, traces: Traces, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Declared edges are learned, nothing else arrives once enforced, every attempt is in the log; kubelet still gets in."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, api.url)))
    plan = make_plan(
        parse_topology(TOPOLOGY, "topology.yaml"), traces.root, "redirect", traces.run, preflight.lowest_port("redirect")
    )
    mesh = Mesh(plan, traces)
    mesh.processes = processes = PodProcesses(plan, traces, mesh.processes._certificate, api)
    progress, report = Progress(io.StringIO()), Report(topology="pods", capture="redirect", services=4)
    try:
        await Stages(mesh, progress, report, Reviewer(progress, approve_all=True)).run()
        assert report.clean, report.json().decode()
        assert (report.edges_learned, report.unexpected_delivered, report.bypass_delivered) == (2, 0, 0)
        assert report.unexpected_attempts > 5
        for name in ("web", "cart", "db"):
            pod = processes.pods[name]
            assert pod.ready("app") == 200
            assert uid_of(pod.address, plan, name) == "1337"
        assert len(api.reviews) >= 4
    finally:
        await mesh.close()
        processes.stop()


def uid_of(address: str, plan: Plan, name: str) -> str:
    """Whose process listens on the inbound port of a pod."""
    namespace = next(place.namespace for place in plan.meshed if place.service.name.name == name)
    command = ["ip", "netns", "exec", namespace, "ss", "--no-header", "--tcp", "--listening", "--extended", "sport = :15006"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return next(word.removeprefix("uid:") for word in shown.split() if word.startswith("uid:"))
