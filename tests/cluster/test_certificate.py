"""A webhook whose certificate cert-manager keeps, before a real API server; the test does what cert-manager would."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator

import pytest

from controlplane.identity.authority import CertificateAuthority, load_or_create
from tests.cluster.test_apiserver import WEBHOOK, controlplane, create, listed, names, pod, shop
from tests.controlplane.test_fronts import mount
from tests.harness.apiserver import ApiServer, lacking, running_apiserver
from tests.harness.directories import short_directory
from tests.helm.charts import NAMESPACE, SETS, rendered

VALUES = SETS["cert-manager"]
SECONDS = 60
pytestmark = pytest.mark.e2e


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server with the release, but for the Certificate, whose kind it does not know."""
    if missing := lacking("etcd", "kube-apiserver", "kubectl"):
        pytest.skip(f"needs {', '.join(missing)} in KUBEBUILDER_ASSETS or on PATH: make kubernetes builds them")
    with short_directory("kube") as directory, running_apiserver(directory) as made:
        made.kubectl("create", "namespace", NAMESPACE)
        objects = [item for item in rendered(VALUES).objects if item["kind"] != "Certificate"]
        made.kubectl("create", "--validate=strict", "-f", "-", stdin=listed(objects))
        made.kubectl("wait", "--for=condition=Established", "crd/trafficpolicies.picket.dev", "--timeout=60s")
        shop(made)
        yield made


def trusted(server: ApiServer, authority: CertificateAuthority) -> None:
    """As cert-manager's CA injector, which the annotation of the configuration asks."""
    bundle = base64.b64encode(authority.bundle_pem).decode()
    changes = [{"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle} for index in (0, 1)]
    server.kubectl("patch", "mutatingwebhookconfiguration", WEBHOOK, "--type=json", "-p", json.dumps(changes))


async def test_pods_are_injected_before_and_after_the_certificate_is_another(server: ApiServer) -> None:
    """Without a restart, and by a control plane that may not touch the webhook's configuration."""
    with short_directory("run") as directory:
        first, second = (load_or_create(directory / name, "webhook.local") for name in ("first", "second"))
        mount(directory / "webhook", first, "127.0.0.1")
        async with controlplane(server, directory, VALUES) as plane:
            await asyncio.to_thread(trusted, server, first)
            await asyncio.to_thread(create, server, pod("cart-1"))
            assert await asyncio.to_thread(names, server, "cart-1") == ["picket-init", "picket-sidecar"]
            mount(directory / "webhook", second, "127.0.0.1")
            await asyncio.to_thread(trusted, server, second)
            async with asyncio.timeout(SECONDS):
                while True:
                    done = await asyncio.to_thread(server.tried, "create", "-f", "-", stdin=json.dumps(pod("cart-2")))
                    if done.returncode == 0:
                        break
                    assert "certificate" in done.stderr  # until it was read anew
            assert await asyncio.to_thread(names, server, "cart-2") == ["picket-init", "picket-sidecar"]
            plane.process.terminate()
            assert await plane.ended() == 0
        log = "".join(plane.log)
        assert "webhook certificate renewed" in log
        assert "forbidden" not in log.lower()
        assert "webhook not looked after" not in log
