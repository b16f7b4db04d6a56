"""A control plane started with the chart's own configuration, against an HTTP server that speaks the Kubernetes API."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.controlplane.kubernetes.test_running import kubeconfig
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.helm.charts import NAMESPACE, rendered

REVIEW = (Path(__file__).parents[1] / "data" / "admission" / "deployment-http.json").read_bytes()
LISTENING = ("api-listen", "grpc-listen", "enroll-listen", "api-tls-listen", "webhook-listen")


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """A cluster in which the chart was installed."""
    with running_api() as made:
        release = rendered()
        (configuration,) = release.of("MutatingWebhookConfiguration")
        made.put("mutatingwebhookconfigurations", configuration["metadata"]["name"], configuration)
        yield made


def configured(directory: Path) -> Path:
    """The ConfigMap's files, with free ports and this directory instead of the pod's."""
    data = rendered().one("ConfigMap")["data"]
    config = yaml.safe_load(data["config.yaml"])
    for option in LISTENING:
        config[option] = ["127.0.0.1:0"] if isinstance(config[option], list) else "127.0.0.1:0"
    config |= {"data": str(directory / "data"), "injection": str(directory / "injection.yaml")}
    (directory / "injection.yaml").write_text(data["injection.yaml"])
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return directory / "config.yaml"


async def test_it_serves_what_the_chart_says(api: KubernetesApi, tmp_path: Path) -> None:
    """Ready over TLS, pods injected with the release's image, the API server trusting it, and the authority in its Secret."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--config", str(configured(tmp_path))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PICKET_", "KUBE"))}
    environment["KUBECONFIG"] = str(kubeconfig(tmp_path, api.url, NAMESPACE))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    try:
        assert process.stderr is not None
        said: list[bytes] = []
        async with asyncio.timeout(60):
            while b'"ready"' not in (line := await process.stderr.readline()):
                assert line, b"".join(said).decode()
                said.append(line)
        addresses = dict(reversed(entry.split(" ", 1)) for entry in json.loads(line)["listening"])
        served = {what: address for address, what in addresses.items() if address.startswith("https://")}
        assert set(served) == {"API", "webhook"}
        (secret,) = [found for key, found in api.objects["secrets"].items() if key == f"{NAMESPACE}/picket-ca"]
        roots = base64.b64decode(secret["data"]["tls.crt"])
        trust = ssl.create_default_context(cadata=roots.decode())
        trust.check_hostname = False  # its names are the cluster's; that they are right is tested with the certificate

        def asked(url: str, body: bytes | None = None) -> bytes:
            request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
                return bytes(answer.read())

        assert json.loads(await asyncio.to_thread(asked, f"{served['API']}/readyz"))["status"] == "ok"
        response = json.loads(await asyncio.to_thread(asked, f"{served['webhook']}/inject", REVIEW))["response"]
        patch = {change["path"]: change["value"] for change in json.loads(base64.b64decode(response["patch"]))}
        image = rendered().pod["spec"]["containers"][0]["image"]
        assert [container["image"] for container in patch["/spec/initContainers"]] == [image, image]

        def trusted() -> bool:
            held = api.objects["mutatingwebhookconfigurations"][f"/{NAMESPACE}-picket"]
            wanted = base64.b64encode(roots).decode()
            return all(hook["clientConfig"].get("caBundle") == wanted for hook in held["webhooks"])

        def kept() -> bool:
            with api.changed:
                return api.changed.wait_for(
                    lambda: trusted() and f"{NAMESPACE}/picket-trust-bundle" in api.objects["configmaps"], 30
                )

        assert await asyncio.to_thread(kept)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
