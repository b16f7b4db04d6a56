"""The whole way in a real cluster: install, learn, approve, enforce, upgrade, uninstall.

On the one of KUBECONFIG, which then can pull the image that PICKET_TEST_IMAGE names; else on a node of our own where its programs
are (`make kubernetes`), or on kind's.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_kubernetes.options import ClusterOptions  # type: ignore[import-untyped]  # it has no types

from tests.cluster import node
from tests.cluster.manifests import NAMESPACE, PORT, boutique, hooked, manifests
from tests.harness import apiserver
from tests.image import builder

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "picket-system"
IMAGE = "localhost/picket:test"
KEPT = ("trafficpolicies.picket.dev",)
PICKET = ("kubectl", "exec", "-n", SYSTEM, "picket-0", "--", "picket")
OBJECT = ("trafficpolicy", "-n", NAMESPACE, "cartservice")
CART = f"http://cartservice.{NAMESPACE}:7070/"
pytestmark = pytest.mark.e2e


def lacking() -> str:
    """What is not here; empty where the tests can run."""
    absent = apiserver.lacking("kubectl", "helm")
    if "KUBECONFIG" in os.environ:
        return ", ".join([*absent, *(name for name in ("PICKET_TEST_IMAGE",) if name not in os.environ)])
    own = [*absent, *(["an image builder"] if builder.lacking() else []), *node.lacking()]
    if not own:
        return ""
    kind = [*absent, *apiserver.lacking("kind"), *([] if _run_quietly("docker", "info") == 0 else ["a container engine (docker)"])]
    return f"{', '.join(kind)}; or for a node of our own {', '.join(own)}" if kind else ""


def _run_quietly(*command: str) -> int:
    if shutil.which(command[0]) is None:
        return 1
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
    except subprocess.TimeoutExpired:
        return 1


class Cluster:
    """A cluster with Picket's image at hand."""

    def __init__(self, kubeconfig: str, image: str, prefix: Sequence[str] = ()) -> None:
        """``prefix`` is a command that runs another one where the cluster can be reached."""
        self._environment = {**os.environ, "KUBECONFIG": kubeconfig}
        self._prefix = prefix
        self.image = image

    def run(self, *command: str, stdin: str | None = None, timeout_seconds: float = 600) -> str:
        """A command against it; what it prints."""
        done = subprocess.run(
            [*self._prefix, str(apiserver.program(command[0])), *command[1:]],
            input=stdin, capture_output=True, text=True, env=self._environment, timeout=timeout_seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command[:6])}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def picket(self, *arguments: str) -> str:
        """A command of Picket, in its own pod."""
        return self.run(*PICKET, *arguments)

    def takes(self, *command: str) -> bool:
        """Whether a command succeeds."""
        line = [*self._prefix, str(apiserver.program(command[0])), *command[1:]]
        return subprocess.run(line, capture_output=True, env=self._environment, timeout=600, check=False).returncode == 0

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

    def meanwhile(self, source: str, url: str, seconds: int) -> subprocess.Popen[str]:
        """Ten calls a second for so long, on new connections; it prints how many there were of each status."""
        program = (
            "import collections, sys, time, urllib.request, urllib.error\n"
            "seen, end = collections.Counter(), time.monotonic() + float(sys.argv[2])\n"
            "while time.monotonic() < end:\n"
            "    try: seen[urllib.request.urlopen(sys.argv[1], timeout=10).status] += 1\n"
            "    except urllib.error.HTTPError as error: seen[error.code] += 1\n"
            "    except OSError as error: seen[type(error).__name__] += 1\n"
            "    time.sleep(0.1)\n"
            "print(dict(seen))\n"
        )
        inside = ("exec", "-n", NAMESPACE, f"deployment/{source}", "-c", "app", "--", "python3", "-c", program, url, str(seconds))
        command = [*self._prefix, str(apiserver.program("kubectl")), *inside]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._environment)

    def following(self, *of: str) -> subprocess.Popen[str]:
        """What a container says, until it ends."""
        command = [*self._prefix, str(apiserver.program("kubectl")), "logs", "--follow", *of]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment)

    def refused(self) -> int:
        """How often `adservice` was refused by `cartservice`, as the log has it."""
        found = json.loads(self.picket("violations", "--output", "json"))["violations"]
        pair = (f"{NAMESPACE}/adservice", f"{NAMESPACE}/cartservice")
        return sum(item["count"] for item in found if (item["source"], item["destination"]) == pair)

    def left(self) -> list[str]:
        """Objects of the release that are still there, in the cluster as a whole."""
        kinds = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings,crd"
        shown = json.loads(self.run("kubectl", "get", kinds, "-l", "app.kubernetes.io/instance=picket", "-o", "json"))
        return [item["metadata"]["name"] for item in shown["items"]]

    def roots(self) -> list[str]:
        """The namespaces that hold the mesh's roots."""
        named = ("--field-selector", "metadata.name=picket-trust-bundle", "-o", "jsonpath={.items[*].metadata.namespace}")
        return self.run("kubectl", "get", "configmaps", "-A", *named).split()


@pytest.fixture(scope="module")
def cluster(k8s_manager: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The one that is given, or one of our own or of kind's that is removed afterwards. Each test leaves nothing in it."""
    directory = tmp_path_factory.mktemp("cluster")
    if missing := lacking():
        pytest.skip(f"needs {missing}")
    if given := os.environ.get("KUBECONFIG"):
        yield Cluster(given, os.environ["PICKET_TEST_IMAGE"])
        return
    if not node.lacking() and not builder.lacking():
        with node.running_node(archives(request.getfixturevalue("builder"), directory)) as (made, server):
            yield Cluster(str(server.kubeconfig()), IMAGE, made.prefix)
        return
    subprocess.run(["docker", "build", "--tag", IMAGE, str(ROOT)], check=True, timeout=1200)
    # With a file, the cluster is of kind's own newest version; the plugin's is older than what the chart takes.
    config = directory / "kind.yaml"
    config.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: picket-test\n")
    manager = k8s_manager("kind")(provider_config=str(config))
    try:
        manager.create(ClusterOptions(cluster_timeout=600), timeout=120)
        manager.load_image(IMAGE)
        yield Cluster(str(manager.kubeconfig), IMAGE)
    finally:
        manager.delete()


def archives(build: builder.Builder, directory: Path) -> list[Path]:
    """The image as a file, and one whose process does nothing: every pod's network belongs to such a one."""
    container = build("from", "--pull-never", IMAGE)
    build("config", "--entrypoint", '["sleep", "infinity"]', "--cmd", "", container)
    build("commit", "-q", "--rm", container, node.PAUSE)
    made = []
    for number, name in enumerate((IMAGE, node.PAUSE)):
        made.append(directory / f"image-{number}.tar")
        build("push", "-q", name, f"oci-archive:{made[-1]}:{name}")
    return made


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
        told_apart(cluster)
        outlives_its_control_plane(cluster)
        rolls_without_a_failure(cluster)
        rotates_its_authority(cluster)
        follows_objects(cluster)
        hooks_pass(cluster)
        cluster.helm("upgrade", "--set", "settings.log-level=warning", "--set", "settings.kubernetes-approvals=true")
        cluster.run("kubectl", "rollout", "status", "-n", SYSTEM, "statefulset/picket", "--timeout=300s")
        writes_objects(cluster)
        enforced(cluster)
        assert '"error"' not in cluster.run("kubectl", "logs", "-n", SYSTEM, "picket-0")
    finally:
        cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=300s")
        cluster.run("helm", "uninstall", "picket", "--namespace", SYSTEM, "--ignore-not-found", "--wait")
        assert cluster.left() == [*KEPT]
        assert cluster.roots() == []
        cluster.run("kubectl", "delete", "crd", *KEPT)
        cluster.run("kubectl", "delete", "namespace", SYSTEM, "--timeout=300s")


def enforced(cluster: Cluster) -> None:
    """What is declared passes; a call that is not is refused, and in the log."""
    assert cluster.call("frontend", CART) == "200"
    assert cluster.call("adservice", CART) != "200"
    until(lambda: cluster.refused() > 0)


def told_apart(cluster: Cluster) -> None:
    """A pod that opted out is shown, with the reason; one whose application is the proxy's user is not made."""
    container = {"name": "app", "image": cluster.image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"]}

    def pod(name: str, labels: dict[str, str], user: int) -> str:
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        spec = {"containers": [{**container, "securityContext": {"runAsUser": user}}], "terminationGracePeriodSeconds": 1}
        return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    cluster.run("kubectl", "create", "-f", "-", stdin=pod("bare", {"picket.dev/injection": "disabled"}, 65534))
    cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/bare", "--timeout=120s")
    missing = json.loads(cluster.picket("sidecars", "missing", "--output", "json"))["replicas"]
    assert [(item["replica"], bool(item["reason"])) for item in missing] == [("bare", True)]
    cluster.run("kubectl", "delete", "pod", "-n", NAMESPACE, "bare")
    with pytest.raises(AssertionError, match="1337"):
        cluster.run("kubectl", "create", "-f", "-", stdin=pod("proxy-user", {}, 1337))


def outlives_its_control_plane(cluster: Cluster) -> None:
    """Without any control plane the list holds, also in a sidecar that starts anew; refusals are told afterwards."""
    before = cluster.refused()
    cluster.run("kubectl", "scale", "-n", SYSTEM, "statefulset/picket", "--replicas=0")
    cluster.run("kubectl", "wait", "-n", SYSTEM, "--for=delete", "pod/picket-0", "--timeout=120s")
    inside = ("-n", NAMESPACE, "deployment/cartservice", "-c", "picket-sidecar")
    # The agent is the container's first process, which a signal from within ends only because it handles it.
    cluster.run("kubectl", "exec", *inside, "--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
    restarts = "jsonpath={.items[0].status.initContainerStatuses[?(@.name=='picket-sidecar')].restartCount}"
    pods = ("pods", "-n", NAMESPACE, "-l", "app=cartservice")
    until(lambda: cluster.run("kubectl", "get", *pods, "-o", restarts) == "1")
    cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", "pod", "-l", "app=cartservice", "--timeout=120s")
    assert cluster.call("frontend", CART) == "200"
    assert cluster.call("adservice", CART) != "200"
    cluster.run("kubectl", "scale", "-n", SYSTEM, "statefulset/picket", "--replicas=1")
    cluster.run("kubectl", "rollout", "status", "-n", SYSTEM, "statefulset/picket", "--timeout=300s")
    cluster.picket("wait", "--sidecars", str(len(boutique().topology.services)), "--timeout", "120")
    until(lambda: cluster.refused() > before)


def rolls_without_a_failure(cluster: Cluster) -> None:
    """New pods of a called service come and old ones go, and no call notices."""
    calls = cluster.meanwhile("frontend", CART, 45)
    cluster.run("kubectl", "rollout", "restart", "-n", NAMESPACE, "deployment/cartservice")
    cluster.run("kubectl", "rollout", "status", "-n", NAMESPACE, "deployment/cartservice", "--timeout=300s")
    told, errors = calls.communicate(timeout=120)
    seen = ast.literal_eval(told.strip() or errors)
    assert set(seen) == {200}, seen
    assert cluster.call("adservice", CART) != "200"


def rotates_its_authority(cluster: Cluster) -> None:
    """Another root, in the Secret and in the namespace, without a call lost; the one before is not trusted any more."""
    shown = ("kubectl", "get", "configmap", "-n", NAMESPACE, "picket-trust-bundle", "-o", "jsonpath={.data.bundle\\.pem}")
    before = cluster.run(*shown)
    calls = cluster.meanwhile("frontend", CART, 60)
    cluster.picket("ca", "rotate", "--reason", "the cluster test")
    until(lambda: cluster.run(*shown).count("BEGIN CERTIFICATE") == 2)
    until(lambda: cluster.takes(*PICKET, "ca", "rotate", "--step", "activate"))  # refused until the sidecars trust the new root

    def only_of_pods_that_are_gone() -> bool:
        late = json.loads(cluster.picket("ca", "show", "--output", "json"))["late"]
        there = cluster.run("kubectl", "get", "pods", "-n", NAMESPACE, "--field-selector=status.phase=Running", "-o", "name")
        return not {name.rpartition(" ")[2] for name in late} & {name.removeprefix("pod/") for name in there.split()}

    until(only_of_pods_that_are_gone)
    cluster.picket("ca", "rotate", "--step", "retire", "--now", "--reason", "these pods are gone")
    until(lambda: cluster.run(*shown).count("BEGIN CERTIFICATE") == 1)
    assert cluster.run(*shown) != before
    told, errors = calls.communicate(timeout=120)
    seen = ast.literal_eval(told.strip() or errors)
    assert set(seen) == {200}, seen
    assert cluster.call("frontend", CART) == "200"
    assert cluster.call("adservice", CART) != "200"


def follows_objects(cluster: Cluster) -> None:
    """An edge comes by a changed object, as from Git, and goes with it."""
    exported = yaml.safe_load_all(cluster.picket("policy", "export"))
    (listed,) = [item for item in exported if item["metadata"] == {"name": "cartservice", "namespace": NAMESPACE}]
    wider = copy.deepcopy(listed)
    wider["spec"]["rules"].append({"from": [{"workload": f"{NAMESPACE}/adservice"}], "ports": [7070], "protocol": "http"})
    for document, allowed in ((wider, True), (listed, False)):
        cluster.run("kubectl", "apply", "-f", "-", stdin=json.dumps(document))
        generation = cluster.run("kubectl", "get", *OBJECT, "-o", "jsonpath={.metadata.generation}")
        cluster.run("kubectl", "wait", *OBJECT, f"--for=jsonpath={{.status.observedGeneration}}={generation}", "--timeout=60s")
        cluster.run("kubectl", "wait", *OBJECT, "--for=condition=InForce", "--timeout=60s")
        until(lambda allowed=allowed: (cluster.call("adservice", CART) == "200") is allowed)  # type: ignore[misc]


def hooks_pass(cluster: Cluster) -> None:
    """Kubelet's own HTTP hook of a pod that enforces comes to the application, and nobody else's call does."""
    cluster.run("kubectl", "create", "-f", "-", stdin=hooked(cluster.image))
    pod = ("-n", NAMESPACE, "pod/hooked")
    cluster.run("kubectl", "wait", *pod, "--for=condition=Ready", "--timeout=120s")
    cluster.picket("mode", f"{NAMESPACE}/hooked", "enforce", "--override", "the cluster test's hook")
    address = cluster.run("kubectl", "get", *pod, "-o", "jsonpath={.status.podIP}")
    until(lambda: cluster.call("frontend", f"http://{address}:{PORT}/other") != "200")
    led = json.loads(cluster.run("kubectl", "get", *pod, "-o", "jsonpath={.spec.containers[0].lifecycle.preStop.httpGet}"))
    assert led["path"].startswith("/app-lifecycle/app/prestop/")
    assert cluster.call("frontend", f"http://{address}:{led['port']}{led['path'][:-1]}x") != "200"
    with cluster.following(*pod, "-c", "app") as following:
        cluster.run("kubectl", "delete", *pod, "--timeout=120s")
        told, _ = following.communicate(timeout=60)
    asked = [line for line in told.splitlines() if line.startswith("/bye")]
    assert asked == ["/bye?now=1 shop.example.org kube-lifecycle/picket"], told


def writes_objects(cluster: Cluster) -> None:
    """What is approved is written where the namespace wants it; what came by an object stays as it came."""
    cluster.run("kubectl", "label", "namespace", NAMESPACE, "picket.dev/approvals=enabled")
    written = ("trafficpolicy", "-n", NAMESPACE, "currencyservice")
    until(lambda: "currencyservice" in cluster.run("kubectl", "get", "trafficpolicies", "-n", NAMESPACE))
    cluster.run("kubectl", "wait", *written, "--for=condition=Written", "--timeout=60s")
    own = cluster.run(
        "kubectl", "get", "trafficpolicies", "-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=picket", "-o", "name"
    )
    assert "trafficpolicy.picket.dev/currencyservice" in own.split()
    assert "trafficpolicy.picket.dev/cartservice" not in own.split()
    cluster.run("kubectl", "patch", *written, "--type=merge", "-p", '{"spec": {"rules": []}}')
    cluster.run("kubectl", "wait", *written, "--for=condition=Written=False", "--timeout=60s")

    def differing() -> list[tuple[str, str]]:
        found = json.loads(cluster.picket("policy", "objects", "--differing", "--output", "json"))["objects"]
        return [(item["object"], item["state"]) for item in found]

    until(lambda: differing() == [(f"{NAMESPACE}/currencyservice", "conflict")])
    cluster.run("kubectl", "delete", *written)
    until(lambda: "currencyservice" in cluster.run("kubectl", "get", "trafficpolicies", "-n", NAMESPACE))
    cluster.run("kubectl", "wait", *written, "--for=condition=Written", "--timeout=60s")


def until(met: Callable[[], bool], seconds: float = 120) -> None:
    """Return when something is as wanted."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_pod_that_outlives_a_release_is_taken_up_by_the_next(cluster: Cluster) -> None:
    """While Picket is away pods are made, without a sidecar; one that has a sidecar keeps what it mounts."""
    try:
        cluster.helm("install")
        cluster.run("kubectl", "create", "namespace", NAMESPACE)
        cluster.run("kubectl", "label", "namespace", NAMESPACE, "picket.dev/injection=enabled")
        started(cluster, "before")
        cluster.picket("wait", "--sidecars", "1", "--timeout", "120")
        assert set(cluster.roots()) == {NAMESPACE, SYSTEM}
        cluster.run("helm", "uninstall", "picket", "--namespace", SYSTEM, "--wait")
        assert cluster.left() == [*KEPT]
        assert cluster.roots() == [NAMESPACE]
        started(cluster, "meanwhile")
        cluster.helm("install")
        cluster.picket("wait", "--sidecars", "1", "--timeout", "120")
        (sidecar,) = json.loads(cluster.picket("sidecars", "--output", "json"))["sidecars"]
        assert sidecar["instance"].startswith("before-")
        (without,) = json.loads(cluster.picket("sidecars", "missing", "--output", "json"))["replicas"]
        assert without["owner"] == "Deployment/meanwhile"
    finally:
        cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=300s")
        cluster.run("helm", "uninstall", "picket", "--namespace", SYSTEM, "--ignore-not-found", "--wait")
        assert cluster.roots() == []
        cluster.run("kubectl", "delete", "crd", *KEPT)
        cluster.run("kubectl", "delete", "namespace", SYSTEM, "--timeout=300s")


def started(cluster: Cluster, name: str) -> None:
    """A Deployment of one pod that does nothing."""
    command = ("kubectl", "create", "deployment", name, "-n", NAMESPACE, "--image", cluster.image, "--", "sleep", "infinity")
    cluster.run(*command)
    cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Available", f"deployment/{name}", "--timeout=300s")
