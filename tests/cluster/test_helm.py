"""Helm itself against a real API server: install, upgrade and back, a second release, uninstall with its Jobs, and what is left.

There are no controllers and no nodes: what a Job's pod would run, the test runs, with the rights of that Job's account.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_apiserver import create, pod, shop
from tests.harness.apiserver import ApiServer, lacking, program, running_apiserver
from tests.harness.directories import short_directory
from tests.helm.charts import CHART, NAMESPACE, SETS, rendered

BUNDLE = "picket-trust-bundle"
#: Of every kind that the chart makes: what a release could leave.
KINDS = "statefulsets,services,configmaps,secrets,serviceaccounts,jobs,pods,roles,rolebindings,networkpolicies,poddisruptionbudgets"
EVERYWHERE = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings,customresourcedefinitions"
CRD = "CustomResourceDefinition/trafficpolicies.picket.dev"
pytestmark = pytest.mark.e2e
Json = dict[str, Any]


class Release:
    """What is done with Helm in one cluster."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.server = server
        #: As it is given to others: without the files that `.helmignore` names.
        self.chart = directory / "picket-0.1.0.tgz"
        own = directory / "helm.kubeconfig"  # that of the server is written anew for each of its commands
        shutil.copy(server.kubeconfig(), own)
        self._environment = {
            **os.environ, "KUBECONFIG": str(own), "HELM_CACHE_HOME": str(directory / "cache"),
            "HELM_CONFIG_HOME": str(directory / "config"), "HELM_DATA_HOME": str(directory / "data"),
        }  # fmt: skip

    def began(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of Helm that goes on meanwhile."""
        command = [str(program("helm")), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment)

    def helm(self, *arguments: str) -> tuple[int, str]:
        """A command's exit code, and what it says."""
        process = self.began(*arguments)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def install(self, name: str, namespace: str, *more: str) -> tuple[int, str]:
        """Install the chart."""
        return self.helm("install", name, str(self.chart), "--namespace", namespace, "--create-namespace", *more)

    def left(self) -> set[str]:
        """What is there of the release and of its hooks."""
        found = set()
        for kinds, where in ((KINDS, ["-A"]), (EVERYWHERE, [])):
            shown = self.server.kubectl("get", kinds, *where, "-l", "app.kubernetes.io/instance=picket", "-o", "json")
            found |= {f"{item['kind']}/{item['metadata']['name']}" for item in json.loads(shown)["items"]}
        return found

    def perform(self, job: str) -> str:
        """Do what a Job's pod would, by its account; what it says."""
        found = json.loads(self.server.kubectl("get", "job", "-n", NAMESPACE, job, "-o", "json"))
        spec = found["spec"]["template"]["spec"]
        token = self.server.kubectl("create", "token", spec["serviceAccountName"], "-n", NAMESPACE).strip()
        _, *arguments = spec["containers"][0]["command"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PICKET_", "KUBE"))}
        environment["KUBECONFIG"] = str(self.server.kubeconfig("hook", token, NAMESPACE))
        command = [sys.executable, "-m", "controlplane.cli.entry", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        now = self.server.kubectl("get", "job", "-n", NAMESPACE, job, "-o", "jsonpath={.metadata.creationTimestamp}")
        conditions = [
            {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"status": {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}}
        self.server.kubectl("patch", "job", "-n", NAMESPACE, job, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        return done.stdout

    def is_there(self, kind: str, name: str, namespace: str = NAMESPACE) -> bool:
        """Whether an object is."""
        return self.server.tried("get", kind, "-n", namespace, name).returncode == 0

    def appears(self, process: subprocess.Popen[str], job: str) -> None:
        """Wait for a Job that a command of Helm makes."""
        while self.server.tried("wait", "--for=create", f"job/{job}", "-n", NAMESPACE, "--timeout=5s").returncode != 0:
            assert process.poll() is None, process.communicate()[0]


@pytest.fixture
def release() -> Iterator[Release]:
    """A cluster of its own, without Picket."""
    if missing := lacking("etcd", "kube-apiserver", "kubectl", "helm"):
        pytest.skip(f"needs {', '.join(missing)} in KUBEBUILDER_ASSETS or on PATH: make kubernetes builds them")
    with short_directory("helm") as directory, running_apiserver(directory) as server:
        made = Release(server, directory)
        code, said = made.helm("package", str(CHART), "--destination", str(directory))
        assert code == 0, said
        yield made


def test_a_release_from_install_to_nothing(release: Release) -> None:
    """It is upgraded with another size of its volumes, is alone in its cluster, and takes itself out of it: the webhook first."""
    server = release.server
    code, said = release.install("picket", NAMESPACE)
    assert code == 0, said
    made = {f"{item['kind']}/{item['metadata']['name']}" for item in rendered().objects}
    assert made == release.left()
    alone(release)
    resized(release)
    shop(server)
    server.kubectl("label", "namespace", "shop", "picket.dev/injection-")
    server.kubectl("create", "namespace", "web")
    for namespace in ("shop", "web", NAMESPACE):
        server.kubectl("create", "configmap", "-n", namespace, BUNDLE, "--from-literal=bundle.pem=x")
    server.kubectl("create", "secret", "generic", "-n", NAMESPACE, "picket-ca")
    create(server, pod("cart-1", initContainers=[{"name": "picket-sidecar", "image": "x"}]))
    server.kubectl("label", "namespace", "shop", "picket.dev/injection=enabled")
    uninstalled(release)
    assert release.left() == {CRD}
    assert {name: release.is_there("configmap", BUNDLE, name) for name in ("shop", "web", NAMESPACE)} == {
        "shop": True, "web": False, NAMESPACE: False,
    }  # fmt: skip
    assert release.is_there("secret", "picket-ca")
    code, said = release.install("picket", NAMESPACE)
    assert code == 0, said


def test_the_charts_pods_are_let_into_a_restricted_namespace(release: Release) -> None:
    """By Kubernetes' own admission; but for one that asks for the node's network.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    for values in SETS:
        for asked, done in tried(release.server, values, f"restricted-{values}"):
            if asked["spec"].get("hostNetwork"):
                assert 'violates PodSecurity "restricted:latest": host namespaces' in done.stderr
            else:
                assert done.returncode == 0, done.stderr


def tried(server: ApiServer, values: str, namespace: str) -> Iterator[tuple[Json, subprocess.CompletedProcess[str]]]:
    """Each pod of a release in a namespace of its own, and what became of it."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.kubectl("create", "-f", "-", stdin=json.dumps(named("Namespace", namespace, labels=labels)))
    found = rendered(SETS[values], namespace=namespace)
    accounts = [item for item in found.everything if item["kind"] == "ServiceAccount"]
    create(server, *accounts, named("ServiceAccount", "default", namespace=namespace))
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data-picket-0"}}
    specs = [{**found.pod["spec"], "volumes": [*found.pod["spec"]["volumes"], claim]}]
    specs += [item["spec"] for item in found.hooks if item["kind"] == "Pod"]
    specs += [item["spec"]["template"]["spec"] for item in found.hooks if item["kind"] == "Job"]
    assert len(specs) == 4
    for spec in specs:
        asked = {**named("Pod", "picket", namespace=namespace), "spec": spec}
        yield asked, server.tried("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(asked))


def named(kind: str, name: str, **metadata: Any) -> Json:
    """The beginning of an object."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **metadata}}


def alone(release: Release) -> None:
    """Two would give one pod two sidecars, and write each other's roots over."""
    code, said = release.install("other", "elsewhere")
    assert code != 0
    assert f"a cluster has one Picket, and the release {NAMESPACE}/picket is here" in said
    code, said = release.install("other", "elsewhere", "--set", "injection.enabled=false,crds.install=false")
    assert code != 0
    assert "a cluster has one Picket" in said


def resized(release: Release) -> None:
    """A StatefulSet's volumes cannot be changed: they stay, the rest is upgraded, and the notes say how they grow."""

    def size() -> str:
        path = "jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage} {.spec.template.spec.nodeSelector.disk}"
        return release.server.kubectl("get", "statefulset", "-n", NAMESPACE, "picket", "-o", path)

    assert size() == "8Gi "
    upgrade = ("upgrade", "picket", str(release.chart), "-n", NAMESPACE, "--set", "persistence.size=20Gi,nodeSelector.disk=fast")
    code, said = release.helm(*upgrade)
    assert code == 0, said
    assert size() == "8Gi fast"
    assert "\n\nThe volumes are 8Gi, as they were made, and not 20Gi" in said
    assert "\n\nTo remove Picket" in said
    code, said = release.helm("rollback", "picket", "1", "-n", NAMESPACE)
    assert code == 0, said
    assert size() == "8Gi "
    release.server.kubectl("delete", "statefulset", "-n", NAMESPACE, "picket", "--cascade=orphan", "--wait=false")
    # As the garbage collector would, once it has let go of the pods.
    release.server.kubectl(
        "patch", "statefulset", "-n", NAMESPACE, "picket", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    code, said = release.helm(*upgrade)
    assert code == 0, said
    assert size() == "20Gi fast"
    assert "as they were made" not in said


def uninstalled(release: Release) -> None:
    """While nobody answers for the webhook no pod is let in: after the first Job, and before anything else is gone, they are."""
    server = release.server
    refused = server.tried("create", "-f", "-", stdin=json.dumps(pod("cart-2")))
    assert "injection.picket.dev" in refused.stderr
    with release.began("uninstall", "picket", "-n", NAMESPACE) as process:
        try:
            release.appears(process, "picket-unhook")
            assert release.is_there("mutatingwebhookconfiguration", f"{NAMESPACE}-picket")
            said = release.perform("picket-unhook")
            assert "1 pod has one: shop (1)" in said
            create(server, pod("cart-2"))
            release.appears(process, "picket-clean")
            assert not release.is_there("statefulset", "picket")
            said = release.perform("picket-clean")
            assert "kubectl delete configmap -n shop picket-trust-bundle" in said
            told, _ = process.communicate(timeout=120)
            assert process.returncode == 0, told
        finally:
            process.kill()
