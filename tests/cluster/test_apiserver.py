"""Against a real API server: what the chart installs is taken, RBAC is enough, and pods are injected, attested and followed.

There are no controllers and no nodes, so pods are what the tests make of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from protos.picket.v1.certificates_pb2 import Svid
from tests.controlplane.kubernetes.test_running import attested
from tests.controlplane.test_runtime import Running
from tests.harness.apiserver import ApiServer, lacking, running_apiserver
from tests.harness.directories import short_directory
from tests.helm.charts import NAMESPACE, SETS, rendered

LISTENING = ("api-listen", "grpc-listen", "enroll-listen", "api-tls-listen", "webhook-listen")
#: Kinds of other projects, which a cluster has when its people installed those.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
WEBHOOK = rendered().of("MutatingWebhookConfiguration")[0]["metadata"]["name"]
SECONDS = 60
pytestmark = pytest.mark.e2e
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server with the namespaces of the tests."""
    if missing := lacking("etcd", "kube-apiserver", "kubectl"):
        pytest.skip(f"needs {', '.join(missing)} in KUBEBUILDER_ASSETS or on PATH: make kubernetes builds them")
    with short_directory("kube") as directory, running_apiserver(directory) as made:
        made.kubectl("create", "namespace", NAMESPACE)
        made.kubectl("create", "serviceaccount", "default", "-n", NAMESPACE)  # as controllers would
        yield made


@pytest.fixture(scope="module")
def release(server: ApiServer) -> list[Json]:
    """The chart with its defaults, installed: each object is known to the API server to its last field."""
    objects = rendered().objects
    server.kubectl("create", "--validate=strict", "-f", "-", stdin=listed([item for item in objects if not is_hook(item)]))
    server.kubectl("wait", "--for=condition=Established", "crd/trafficpolicies.picket.dev", "--timeout=60s")
    return objects


def listed(items: list[Json]) -> str:
    """Objects as one document."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def is_hook(item: Json) -> bool:
    """Whether Helm makes it only at some moment."""
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


@asynccontextmanager
async def controlplane(server: ApiServer, directory: Path, values: Json | None = None) -> AsyncIterator[Running]:
    """The process with the chart's configuration and the rights of the chart's account, its webhook known by its address.

    Where it has a certificate of its own, that is in ``webhook`` of the directory.
    """
    data = rendered(values).one("ConfigMap")["data"]
    config = yaml.safe_load(data["config.yaml"])
    for option in LISTENING:
        config[option] = ["127.0.0.1:0"] if isinstance(config[option], list) else "127.0.0.1:0"
    config |= {"data": str(directory / "data"), "injection": str(directory / "injection.yaml")}
    if "webhook-certificate" in config:
        config["webhook-certificate"] = str(directory / "webhook")
    config["server-name"] = [*config["server-name"], "127.0.0.1"]
    (directory / "injection.yaml").write_text(data["injection.yaml"])
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    account = server.kubectl("create", "token", "picket", "--namespace", NAMESPACE, "--duration", "1h").strip()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PICKET_", "KUBE"))}
    environment["KUBECONFIG"] = str(server.kubeconfig("controlplane", account, NAMESPACE))
    command = [sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--config", str(directory / "config.yaml")]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    plane = Running(directory / "data", process, [])
    try:
        plane.listening = json.loads(await plane.wait_for('"ready"'))["listening"]
        called(server, plane.address("webhook"))
        yield plane
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await plane.ended()


def called(server: ApiServer, url: str) -> None:
    """Have the API server call the webhook where it is here, in place of a service that nobody proxies."""
    for index in (0, 1):
        at = f"/webhooks/{index}/clientConfig"
        change = [{"op": "remove", "path": f"{at}/service"}, {"op": "add", "path": f"{at}/url", "value": f"{url}/inject"}]
        server.kubectl("patch", "mutatingwebhookconfiguration", WEBHOOK, "--type=json", "-p", json.dumps(change))


async def until_true(met: Any) -> Any:
    """What something gives, once it gives anything."""
    async with asyncio.timeout(SECONDS):
        while not (found := await asyncio.to_thread(met)):  # noqa: ASYNC110  # another process brings it about
            await asyncio.sleep(0.05)
    return found


def pod(name: str, account: str = "cart", **changed: Any) -> Json:
    """A pod as a workload's template makes it."""
    container = {
        "name": "app", "image": "example/app:1", "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    }  # fmt: skip
    metadata = {"name": name, "namespace": "shop", "labels": {"app": account, **changed.pop("labels", {})}}
    spec = {"serviceAccountName": account, "containers": [container], **changed}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def create(server: ApiServer, *items: Json) -> None:
    """Make objects."""
    server.kubectl("create", "--validate=strict", "-f", "-", stdin=listed(list(items)))


def shop(server: ApiServer) -> None:
    """A namespace that wants sidecars, with an account and a service."""
    labels = {"picket.dev/injection": "enabled", "picket.dev/mode": "audit"}
    create(
        server,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}},
        *(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}}
            for name in ("cart", "web", "default")
        ),
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    )  # fmt: skip


def runs(server: ApiServer, name: str, address: str) -> None:
    """Say of a pod what a node would."""
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    server.kubectl("patch", "pod", "-n", "shop", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))


def names(server: ApiServer, pod_name: str, what: str = "initContainers") -> list[str]:
    """A pod's containers, as they are stored."""
    spec = json.loads(server.kubectl("get", "pod", "-n", "shop", pod_name, "-o", "json"))["spec"]
    return [item["name"] for item in spec.get(what, [])]


@pytest.mark.parametrize("values", SETS)
def test_every_documented_set_of_values_is_taken_to_the_last_field(server: ApiServer, release: list[Json], values: str) -> None:
    """As `kubectl --dry-run=server` has it: schema, defaults, admission and RBAC of the real API server."""
    items = [item for item in rendered(SETS[values], name="other").everything if not item["apiVersion"].startswith(FOREIGN)]
    server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed(items))


async def test_from_the_chart_to_a_policy_in_force(server: ApiServer, release: list[Json]) -> None:
    """One control plane, with no more rights than the chart gives it, from its start to an object put into force."""
    await asyncio.to_thread(shop, server)
    with short_directory("run") as directory:
        async with controlplane(server, directory) as plane:
            await injected(server)
            await joined(server, plane, directory)
            await in_force(server, plane)
            plane.process.terminate()
            assert await plane.ended() == 0
        assert "forbidden" not in "".join(plane.log).lower()


async def injected(server: ApiServer) -> None:
    """The webhook through the API server's own call: trusted, answered, its patch taken."""

    def trusted() -> bool:
        found = json.loads(server.kubectl("get", "mutatingwebhookconfiguration", WEBHOOK, "-o", "json"))
        return all(hook["clientConfig"].get("caBundle") for hook in found["webhooks"])

    await until_true(trusted)
    await asyncio.to_thread(create, server, pod("cart-1"), pod("out", labels={"picket.dev/injection": "disabled"}))
    assert await asyncio.to_thread(names, server, "cart-1") == ["picket-init", "picket-sidecar"]
    assert await asyncio.to_thread(names, server, "out") == []
    refused = await asyncio.to_thread(
        server.tried, "create", "-f", "-", stdin=json.dumps(pod("proxy-user", securityContext={"runAsUser": 1337}))
    )
    assert refused.returncode != 0
    assert "1337" in refused.stderr


async def joined(server: ApiServer, plane: Running, directory: Path) -> None:
    """A real token of the pod brings its identity; for another audience, of no pod, or of one that is gone it brings nothing."""

    def bundle() -> str:
        shown = server.tried("get", "configmap", "-n", "shop", "picket-trust-bundle", "-o", "jsonpath={.data.bundle\\.pem}")
        return shown.stdout

    def token(audience: str, *bound: str) -> str:
        return server.kubectl("create", "token", "cart", "-n", "shop", "--audience", audience, *bound).strip()

    (plane.directory / "ca").mkdir(exist_ok=True)
    (plane.directory / "ca" / "ca.pem").write_text(await until_true(bundle))
    await asyncio.to_thread(runs, server, "cart-1", "10.1.0.1")
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", "cart-1")
    good = token("picket", *bound)
    svid = await until_known(plane, good)
    assert svid.spiffe_id == "spiffe://picket.local/ns/shop/sa/cart"
    assert await attested(plane, token("picket")) is grpc.StatusCode.PERMISSION_DENIED
    assert await attested(plane, token("https://kubernetes.default.svc", *bound)) is grpc.StatusCode.PERMISSION_DENIED
    server.kubectl("delete", "pod", "-n", "shop", "cart-1", "--force", "--grace-period=0")
    # What it said of a token the API server repeats for ten seconds.
    async with asyncio.timeout(SECONDS):
        while isinstance(await attested(plane, good), Svid):
            pass


async def until_known(plane: Running, token: str) -> Svid:
    """The certificate, once the watch has told of the pod."""
    async with asyncio.timeout(SECONDS):
        while not isinstance(svid := await attested(plane, token), Svid):
            assert svid is grpc.StatusCode.UNAVAILABLE
    return svid


async def in_force(server: ApiServer, plane: Running) -> None:
    """An object is put into force and says so; one that the schema forbids is never stored."""
    await asyncio.to_thread(create, server, pod("cart-2"), pod("web-1", "web"))
    await asyncio.to_thread(runs, server, "cart-2", "10.1.0.2")
    await asyncio.to_thread(runs, server, "web-1", "10.1.0.3")

    def known() -> bool:
        return {"shop/cart", "shop/web"} <= {entry["service"] for entry in plane.api().get("/api/v1/map")["services"]}

    await until_true(known)
    rules = [{"from": [{"workload": "shop/web"}], "ports": [80], "protocol": "http"}]
    await asyncio.to_thread(create, server, policy("cart", {"rules": rules}))

    def status() -> Json | None:
        found: Json = json.loads(server.kubectl("get", "trafficpolicy", "-n", "shop", "cart", "-o", "json"))
        return found.get("status")

    told = await until_true(status)
    assert {item["type"]: item["status"] for item in told["conditions"]} == {"Applied": "True", "InForce": "True"}, told
    assert told["observedGeneration"] == 1
    assert told["revision"] == plane.api().get("/api/v1/policy")["revision"]
    table = server.kubectl("get", "trafficpolicies", "-n", "shop").splitlines()
    assert table[0].split()[:1] == ["NAME"]
    loud = policy("loud", {"mode": "loud", "rules": rules})
    refused = await asyncio.to_thread(server.tried, "create", "-f", "-", stdin=json.dumps(loud))
    assert refused.returncode != 0
    assert "spec.mode" in refused.stderr


def policy(name: str, spec: Json) -> Json:
    """A TrafficPolicy object."""
    return {
        "apiVersion": "picket.dev/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }  # fmt: skip
