"""A control plane that runs for a cluster, as a process: it waits until it knows it, follows it, and lets its pods join."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from controlplane.identity.authority import load_or_create
from controlplane.identity.directory import AuthorityDirectory
from controlplane.kubernetes import discovery
from controlplane.kubernetes.topology import Found
from controlplane.plane import ControlPlane, FailedError
from controlplane.rotating import Rotating
from controlplane.server.certificates import SERVICE
from controlplane.server.listen import SERVER_NAME
from controlplane.settings import build_settings
from controlplane.store.sql import open_store
from protos.picket.v1.certificates_pb2 import EnrollRequest, Svid
from tests.controlplane.kubernetes.test_attestation import known, token
from tests.controlplane.test_runtime import Running
from tests.harness.adsclient import connect
from tests.harness.directories import short_directory
from tests.harness.kubeapi import BEARER, KubernetesApi, running_api
from tests.harness.kubeobjects import endpoints, namespace, pod, service
from tests.harness.mesh import new_key
from tests.harness.workloadapi import serving, svid

pytestmark = pytest.mark.e2e
HTTP = {"name": "http", "port": 80, "targetPort": 8080}


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """A cluster with one service."""
    with running_api() as running:
        running.put("namespaces", "shop", namespace("shop", injection="enabled", mode="audit"))
        running.put("serviceaccounts", "cart", {}, "shop")
        running.put("services", "cart", service("cart", [HTTP]), "shop")
        running.put("endpointslices", "cart-abc", endpoints("cart", {"cart-1": "10.1.0.1"}, {"http": 8080}), "shop")
        running.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop")
        yield running


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory("run") as made:
        yield made


def kubeconfig(directory: Path, url: str, namespace: str = "default") -> Path:
    """A file that leads to the API."""
    made = directory / "kubeconfig"
    made.write_text(
        yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": BEARER}}],
        })
    )  # fmt: skip
    return made


@asynccontextmanager
async def launched(directory: Path, api: KubernetesApi, *arguments: str) -> AsyncIterator[Running]:
    """The process, killed afterwards if it still runs."""
    command = [
        sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--data", str(directory / "data"), "--kubernetes",
        "--grpc-listen", "127.0.0.1:0", "--enroll-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PICKET_", "KUBE"))}
    environment["KUBECONFIG"] = str(kubeconfig(directory, api.url))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    plane = Running(directory / "data", process, [])
    try:
        yield plane
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await plane.ended()


async def attested(plane: Running, said: str, roots: bytes = b"") -> Svid | grpc.StatusCode:
    """What a service-account token brings."""
    bundle = roots or (plane.directory / "ca" / "ca.pem").read_bytes()
    async with connect(plane.address("enrollment"), grpc.ssl_channel_credentials(bundle)) as channel:
        ask: Any = channel.unary_unary(f"/{SERVICE}/Enroll", response_deserializer=Svid.FromString)
        request = EnrollRequest(service_account_token=said, csr_der=new_key()[1])
        try:
            svid: Svid = await ask(request.SerializeToString(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return svid


async def services(plane: Running) -> dict[str, Any]:
    """The map's services, by name."""
    found = await asyncio.to_thread(plane.api().get, "/api/v1/map")
    return {entry["service"]: entry for entry in found["services"]}


async def until(met: Callable[[dict[str, Any]], bool], plane: Running) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while not met(found := await services(plane)):
            pass
    return found


async def test_pods_join_by_their_tokens_and_what_exists_follows_the_cluster(directory: Path, api: KubernetesApi) -> None:
    now = datetime.now(UTC).timestamp()
    good = token(expires=now + 600)
    api.tokens[good] = known(of=("cart-1", "uid-shop/cart-1"))
    async with launched(directory, api) as plane:
        plane.listening = json.loads(await plane.wait_for('"ready"'))["listening"]
        found = await services(plane)
        assert {name: entry["mode"] for name, entry in found.items()} == {"shop/cart": "audit"}
        async with asyncio.timeout(30):
            while "shop/picket-trust-bundle" not in api.objects.get("configmaps", {}):  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.01)
        bundle = api.objects["configmaps"]["shop/picket-trust-bundle"]["data"]["bundle.pem"]
        assert bundle == (plane.directory / "ca" / "ca.pem").read_text()
        assert (await asyncio.to_thread(plane.api().get, "/api/v1/sidecars/missing"))["replicas"] == []
        api.put("pods", "old", pod("old", "10.1.0.7", sidecar=False, owner=("StatefulSet", "cart")), "shop")
        async with asyncio.timeout(30):
            while not (missing := (await asyncio.to_thread(plane.api().get, "/api/v1/sidecars/missing"))["replicas"]):
                pass
        assert missing[0]["owner"] == "StatefulSet/cart"
        svid = await attested(plane, good)
        assert isinstance(svid, Svid)
        assert svid.spiffe_id == "spiffe://picket.local/ns/shop/sa/cart"
        assert '"uid": "uid-shop/cart-1"' in await plane.wait_for("certificate issued")
        assert await attested(plane, token(expires=now - 1)) is grpc.StatusCode.PERMISSION_DENIED
        other = token(expires=now + 601)
        api.tokens[other] = known("system:serviceaccount:shop:newer", ("newer-1", "uid-shop/newer-1"))
        assert await attested(plane, other) is grpc.StatusCode.UNAVAILABLE
        api.put("serviceaccounts", "newer", {}, "shop")
        api.put("pods", "newer-1", pod("newer-1", "10.1.0.2", "newer"), "shop")
        await until(lambda found: "shop/newer" in found, plane)
        assert isinstance(await attested(plane, other), Svid)
        api.delete("pods", "newer-1", "shop")
        await until(lambda found: "shop/newer" not in found, plane)
        assert await attested(plane, other) is grpc.StatusCode.UNAVAILABLE
        api.delete("pods", "cart-1", "shop")
        api.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop", uid="made-anew")
        async with asyncio.timeout(30):
            while await attested(plane, good) is not grpc.StatusCode.UNAVAILABLE:
                pass
        plane.process.terminate()
        assert await plane.ended() == 0
    assert good not in "".join(plane.log)


async def test_the_clusters_copies_of_the_roots_follow_the_workload_api_and_no_token_brings_a_certificate(
    directory: Path, api: KubernetesApi
) -> None:
    """What pods mount, and what the API server trusts."""
    old, new = (load_or_create(directory / name, "picket.local") for name in ("old", "new"))
    names = [SERVER_NAME]
    uri = "spiffe://picket.local/picket/controlplane"
    api.put("mutatingwebhookconfigurations", "picket", {"webhooks": [{"clientConfig": {}}]})

    def copies() -> set[str]:
        (configuration,) = api.objects["mutatingwebhookconfigurations"].values()
        hook = configuration["webhooks"][0]["clientConfig"].get("caBundle", "")
        mounted = api.objects.get("configmaps", {}).get("shop/picket-trust-bundle", {"data": {"bundle.pem": ""}})
        return {base64.b64decode(hook).decode(), mounted["data"]["bundle.pem"]}

    async def are(roots: bytes) -> None:
        async with asyncio.timeout(30):
            while copies() != {roots.decode()}:  # noqa: ASYNC110  # another process writes them
                await asyncio.sleep(0.01)

    async with serving(directory / "api.sock") as spiffe:
        spiffe.give([svid(old, uri, dns=names)])
        options = ["--identity", "workload-api", "--workload-api", f"unix:{spiffe.path}", "--webhook-configuration", "picket"]
        async with launched(directory, api, *options) as plane:
            plane.listening = json.loads(await plane.wait_for('"ready"'))["listening"]
            await are(old.bundle_pem)
            spiffe.give([svid(old, uri, dns=names, roots=new.bundle_pem)])
            await are(old.bundle_pem + new.bundle_pem)
            good = token(expires=datetime.now(UTC).timestamp() + 600)
            api.tokens[good] = known(of=("cart-1", "uid-shop/cart-1"))
            assert await attested(plane, good, old.bundle_pem) is grpc.StatusCode.FAILED_PRECONDITION
            assert not (plane.directory / "ca").exists()


async def test_approvals_are_written_where_a_namespace_wants_them_and_conflicts_are_told(
    directory: Path, api: KubernetesApi
) -> None:
    """At once; and what somebody else changed is in the log, in the API and in the metrics."""
    api.put("namespaces", "shop", namespace("shop", injection="enabled", approvals="enabled"))
    policy = {
        "apiVersion": "picket.dev/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"rules": [{"from": [{"workload": "shop/cart"}], "ports": [80]}]},
    }  # fmt: skip
    async with launched(directory, api, "--kubernetes-approvals", "--kubernetes-policies") as plane:
        plane.listening = json.loads(await plane.wait_for('"ready"'))["listening"]
        files = [{"name": "cart.yaml", "text": json.dumps(policy)}]
        await asyncio.to_thread(plane.api().post, "/api/v1/policy/apply", {"files": files})
        objects = api.objects.setdefault("trafficpolicies", {})
        async with asyncio.timeout(10):  # less than it looks around by itself
            while "status" not in objects.get("shop/cart", {}):  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.01)
        api.edit("trafficpolicies", "cart", objects["shop/cart"] | {"spec": {"rules": []}}, "shop", "kubectl-edit")

        def conflicts() -> bool:
            found = plane.api().get("/api/v1/policy/objects")["objects"]
            return [(item["object"], item["state"]) for item in found] == [("shop/cart", "conflict")]

        async with asyncio.timeout(30):
            while not await asyncio.to_thread(conflicts):
                pass
        assert (await asyncio.to_thread(plane.api().get, "/api/v1/policy"))["revision"] == 1
        assert "picket_policy_objects_differing 1.0" in await asyncio.to_thread(plane.metrics)
        assert "policy object not kept" in await plane.wait_for("kubectl-edit")


async def test_it_is_not_ready_before_it_knows_the_whole_cluster_and_can_be_stopped_then(
    directory: Path, api: KubernetesApi
) -> None:
    api.refuse["endpointslices"] = 403
    async with launched(directory, api) as plane:
        await plane.wait_for("endpointslices")  # what is missing is in the log
        address = (plane.directory / "api-address").read_text().strip()
        with pytest.raises(urllib.error.HTTPError) as told:
            await asyncio.to_thread(urllib.request.urlopen, f"{address}/readyz")
        with told.value:
            assert told.value.code == 503
            assert b"the cluster is not known yet" in told.value.read()
        plane.process.terminate()
        assert await plane.ended() == 0


async def test_a_mistake_of_ours_before_the_cluster_is_known_ends_it(
    directory: Path, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for ever for what nobody reads any more."""

    def broken(*_: object) -> Found:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(discovery, "found_in", broken)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(directory, api.url)))
    anywhere = ["127.0.0.1:0"]
    settings = build_settings(
        data=directory, kubernetes=True, grpc_listen=anywhere, enroll_listen=anywhere, api_listen=anywhere
    )  # fmt: skip
    store = open_store(settings.database_url)
    try:
        custody = AuthorityDirectory(directory / "ca", "picket.local")
        plane = ControlPlane(settings, store, Rotating(settings, store, custody, await custody.load()))
        with pytest.raises(FailedError, match=r"cluster.*a mistake of ours"):
            await asyncio.wait_for(plane.run(asyncio.Event(), lambda _: None), 60)
    finally:
        store.close()


async def test_without_a_cluster_it_says_what_is_missing(directory: Path) -> None:
    command = [sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--data", str(directory / "other"), "--kubernetes"]
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(directory / "none"), "HOME": str(directory)}
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"KUBECONFIG" in said


async def test_its_authority_can_be_in_a_secret_and_nothing_of_it_on_disk(directory: Path, api: KubernetesApi) -> None:
    async with launched(directory, api, "--kubernetes-ca-secret", "picket-ca") as plane:
        await plane.wait_for('"ready"')
        held = api.objects["secrets"]["default/picket-ca"]["data"]
    assert set(held) == {"tls.crt", "tls.key"}
    assert not (directory / "data" / "ca").exists()
    assert held["tls.key"] not in "".join(plane.log)
