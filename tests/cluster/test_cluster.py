"""The whole way in a real cluster: install, learn, approve, enforce, upgrade, uninstall.

On a cluster of its own by kind, or on the one of KUBECONFIG, which then can pull the image that PICKET_TEST_IMAGE names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_kubernetes.options import ClusterOptions  # type: ignore[import-untyped]  # it has no types

from tests.cluster.manifests import NAMESPACE, boutique, manifests

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "picket-system"
IMAGE = "localhost/picket:test"
KEPT = ("trafficpolicies.picket.dev",)
pytestmark = pytest.mark.e2e


def lacking() -> str:
    """What is not here; empty where the tests can run."""
    programs = ["kubectl", "helm"]
    found = []
    if "KUBECONFIG" in os.environ:
        found += ["PICKET_TEST_IMAGE"] if "PICKET_TEST_IMAGE" not in os.environ else []
    else:
        programs.append("kind")
        if _run_quietly("docker", "info") != 0:
            found.append("a container engine (docker)")
    return ", ".join([*found, *(program for program in programs if shutil.which(program) is None)])


def _run_quietly(*command: str) -> int:
    if shutil.which(command[0]) is None:
        return 1
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
    except subprocess.TimeoutExpired:
        return 1


class Cluster:
    """A cluster with Picket's image at hand."""

    def __init__(self, kubeconfig: str, image: str) -> None:
        self._environment = {**os.environ, "KUBECONFIG": kubeconfig}
        self.image = image

    def run(self, *command: str, stdin: str | None = None, timeout_seconds: float = 600) -> str:
        """A command against it; what it prints."""
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self._environment, timeout=timeout_seconds, check=False
        )
        assert done.returncode == 0, f"{' '.join(command[:6])}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def picket(self, *arguments: str) -> str:
        """A command of Picket, in its own pod."""
        return self.run("kubectl", "exec", "-n", SYSTEM, "picket-0", "--", "picket", *arguments)

    def helm(self, action: str, *more: str) -> None:
        """Install or upgrade the chart of this repository."""
        repository, _, tag = self.image.rpartition(":")
        self.run(
            "helm", action, "picket", str(ROOT / "helm" / "picket"), "--namespace", SYSTEM, "--create-namespace", "--wait",
            "--timeout", "5m", "--set", f"image.repository={repository}", "--set", f"image.tag={tag}", *more,
        )  # fmt: skip

    def call(self, source: str, url: str) -> str:
        """The status that one service gets from another; the error's name where there is none."""
        program = (
            "import sys, urllib.request, urllib.error\n"
            "try: print(urllib.request.urlopen(sys.argv[1], timeout=10).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
            "except OSError as error: print(type(error).__name__)\n"
        )
        inside = ("kubectl", "exec", "-n", NAMESPACE, f"deployment/{source}", "-c", "app", "--", "python3", "-c", program, url)
        return self.run(*inside).strip()

    def left(self) -> list[str]:
        """Objects of the release that are still there, in the cluster as a whole."""
        kinds = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings,crd"
        shown = json.loads(self.run("kubectl", "get", kinds, "-l", "app.kubernetes.io/instance=picket", "-o", "json"))
        return [item["metadata"]["name"] for item in shown["items"]]


@pytest.fixture
def cluster(k8s_manager: Any, tmp_path: Path) -> Iterator[Cluster]:
    """The one that is given, or one of kind's that is removed afterwards."""
    if missing := lacking():
        pytest.skip(f"needs {missing}")
    if given := os.environ.get("KUBECONFIG"):
        yield Cluster(given, os.environ["PICKET_TEST_IMAGE"])
        return
    subprocess.run(["docker", "build", "--tag", IMAGE, str(ROOT)], check=True, timeout=1200)
    # With a file, the cluster is of kind's own newest version; the plugin's is older than what the chart takes.
    config = tmp_path / "kind.yaml"
    config.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: picket-test\n")
    manager = k8s_manager("kind")(provider_config=str(config))
    try:
        manager.create(ClusterOptions(cluster_timeout=600), timeout=120)
        manager.load_image(IMAGE)
        yield Cluster(str(manager.kubeconfig), IMAGE)
    finally:
        manager.delete()


def test_from_install_to_uninstall(cluster: Cluster) -> None:
    """Every declared edge passes once it is enforced, another is refused and logged, and nothing is left in the end."""
    document = boutique()
    try:
        cluster.helm("install")
        cluster.run("helm", "test", "picket", "--namespace", SYSTEM)
        cluster.run("kubectl", "apply", "-f", "-", stdin=manifests(cluster.image))
        cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Available", "deployment", "--all", "--timeout=600s")
        cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Complete", "job/once", "--timeout=300s")
        edges = {(edge.source, edge.destination, edge.port) for edge in document.edges}
        cluster.picket("wait", "--sidecars", str(len(document.topology.services)), "--edges", str(len(edges)), "--timeout", "300")
        number = str(json.loads(cluster.picket("proposals", "--output", "json"))["proposals"][0]["number"])
        cluster.picket("approve", number, "--comment", "the cluster test")
        cluster.picket("mode", "--all", "enforce", "--override", "the cluster test made all the traffic that there is")
        cluster.picket("wait", "--sidecars", str(len(document.topology.services)), "--timeout", "120")
        enforced(cluster)
        cluster.helm("upgrade", "--set", "settings.log-level=warning")
        cluster.run("kubectl", "rollout", "status", "-n", SYSTEM, "statefulset/picket", "--timeout=300s")
        enforced(cluster)
    finally:
        cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=300s")
        cluster.run("helm", "uninstall", "picket", "--namespace", SYSTEM, "--ignore-not-found", "--wait")
        assert cluster.left() == [*KEPT]
        cluster.run("kubectl", "delete", "crd", *KEPT)
        cluster.run("kubectl", "delete", "namespace", SYSTEM, "--timeout=300s")


def enforced(cluster: Cluster) -> None:
    """What is declared passes; a call that is not is refused, and in the log."""
    assert cluster.call("frontend", f"http://cartservice.{NAMESPACE}:7070/") == "200"
    assert cluster.call("adservice", f"http://cartservice.{NAMESPACE}:7070/") != "200"
    cluster.picket("wait", "--violations", "1")
    found = json.loads(cluster.picket("violations", "--output", "json"))["violations"]
    assert any((item["source"], item["destination"]) == (f"{NAMESPACE}/adservice", f"{NAMESPACE}/cartservice") for item in found)
