"""The webhook's certificate by cert-manager: all that has to fit together for the API server to trust it, and no right too many."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from controlplane.kubernetes import cabundle
from tests.helm.charts import CHART, NAMESPACE, SETS, rendered, validate
from tests.helm.test_chart import settings

VALUES = SETS["cert-manager"]
MAKING = ("genCA", "genSelfSigned", "genSigned", "genPrivateKey", "buildCustomCert")
ALL = sorted((CHART / "examples" / "cert-manager").glob("*.yaml"))


def test_the_default_asks_nothing_of_cert_manager() -> None:
    """No object of its kinds, no annotation for it."""
    assert "cert-manager.io" not in str(rendered().everything)


def test_no_certificate_is_made_while_the_chart_is_rendered() -> None:
    """It would be another one at each upgrade, and its key in the release's own Secret."""
    for file in (CHART / "templates").rglob("*"):
        if file.is_file():
            text = file.read_text()
            assert not any(made in text for made in ("genCA", "genSelfSigned", "genSigned", "genPrivateKey", "buildCustomCert")), (
                file
            )


def test_the_secret_of_the_certificate_is_where_the_webhook_looks(tmp_path: Path) -> None:
    """And its CA is put into the webhook's configuration by cert-manager alone."""
    release = rendered(VALUES)
    (certificate,) = release.of("Certificate")
    (configuration,) = release.of("MutatingWebhookConfiguration")
    named = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert named == f"{NAMESPACE}/{certificate['metadata']['name']}"
    service = configuration["webhooks"][0]["clientConfig"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in certificate["spec"]["dnsNames"]
    assert certificate["spec"]["issuerRef"] == {"name": "picket-webhook", "kind": "Issuer", "group": "cert-manager.io"}
    (volume,) = [each for each in release.pod["spec"]["volumes"] if each.get("secret")]
    assert volume["secret"] == {"secretName": certificate["spec"]["secretName"], "defaultMode": 0o440}
    (mount,) = [each for each in release.pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    read = settings(release, tmp_path)
    assert read.webhook_certificate == Path(mount["mountPath"])
    assert read.webhook_configuration == ""


def test_the_control_plane_then_may_not_touch_the_webhook() -> None:
    """Nobody asks it to; what else it may is the same."""
    kind = cabundle.PATH.rpartition("/")[2]
    given, without = (rendered(values).of("ClusterRole")[0]["rules"] for values in ({}, VALUES))
    assert [rule for rule in given if kind not in rule["resources"]] == without
    assert len(given) == len(without) + 1


def test_without_injection_there_is_no_certificate() -> None:
    release = rendered({**VALUES, "injection": {"enabled": False}})
    assert "cert-manager" not in str(release.everything)
    assert "picket-webhook" not in str(release.everything) + release.notes


@pytest.mark.parametrize("file", ALL, ids=[file.stem for file in ALL])
def test_the_examples_for_cert_manager_are_objects_of_its(file: Path) -> None:
    """And what one refers to is in the same file."""
    items = list(yaml.safe_load_all(file.read_text()))
    for item in items:
        validate(item, "1.37")
    issuers = {item["metadata"]["name"] for item in items if item["kind"] == "Issuer"}
    assert {item["spec"]["issuerRef"]["name"] for item in items if item["kind"] == "Certificate"} <= issuers


def test_the_example_makes_the_issuer_that_the_values_name() -> None:
    items = list(yaml.safe_load_all((CHART / "examples" / "cert-manager" / "webhook.yaml").read_text()))
    wanted = VALUES["webhook"]["certificate"]["issuerRef"]["name"]
    assert wanted in {item["metadata"]["name"] for item in items if item["kind"] == "Issuer"}
