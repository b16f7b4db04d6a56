"""The chart under other names, in other places, and with everything set: all of it goes together, with names that can be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.helm.charts import CHART, SETS, Json, Rendered, rendered, validate

DEFAULTS: Json = yaml.safe_load((CHART / "values.yaml").read_text())

#: As long as Helm lets a release's name be, and Kubernetes a namespace's.
RELEASE, NAMESPACE = "r" * 52 + "x", "n" * 31 + "-" + "s" * 31
_LABEL = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?)?\Z")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z")


def metadata(item: Json) -> Iterator[Json]:
    """That of an object, and of the pods that it makes."""
    yield item["metadata"]
    if "template" in item.get("spec", {}):
        yield item["spec"]["template"]["metadata"]


def consistent(release: Rendered, namespace: str) -> None:
    """Every name is one, and whoever is named is there."""
    for item in release.everything:
        validate(item, "1.37")
        # The controller labels a StatefulSet's pods with its name and ten characters, a Job's with its name.
        name = item["metadata"]["name"] + ("-0123456789" if item["kind"] == "StatefulSet" else "")
        is_label = item["kind"] in {"Service", "StatefulSet", "Job", "Pod"}
        assert (_DNS_LABEL if is_label else _DNS_NAME).match(name), (item["kind"], name)
        assert item["metadata"].get("namespace") in {None, namespace}
        for found in metadata(item):
            assert all(_LABEL.match(value) for value in found.get("labels", {}).values()), item["kind"]
    accounts = {item["metadata"]["name"] for item in release.everything if item["kind"] == "ServiceAccount"}
    accounts |= {"default"}  # each namespace has it
    roles = {(item["kind"], item["metadata"]["name"]) for item in release.everything if item["kind"].endswith("Role")}
    for item in release.everything:
        if item["kind"].endswith("Binding"):
            assert (item["roleRef"]["kind"], item["roleRef"]["name"]) in roles
            assert all(subject["name"] in accounts and subject["namespace"] == namespace for subject in item["subjects"])
        if item["kind"] == "Job":
            assert item["spec"]["template"]["spec"]["serviceAccountName"] in accounts


def switches(values: Json, *path: str) -> Iterator[tuple[str, ...]]:
    """Every value that is on or off."""
    for name, value in values.items():
        if isinstance(value, bool):
            yield *path, name
        elif isinstance(value, dict):
            yield from switches(value, *path, name)


@pytest.mark.parametrize("path", list(switches(DEFAULTS)), ids=".".join)
def test_each_switch_can_be_the_other_way(path: tuple[str, ...]) -> None:
    """And what is left fits together; with what the values say that it wants."""
    wanted: Json = {
        "postgresql": {"existingSecret": "database"},
        "ingress": {"host": "picket.example.org"},
        "metrics": {"serviceMonitor": {"tokenSecret": {"name": "prometheus"}}},
        "networkPolicy": {"apiFrom": [{"podSelector": {}}]},
    }
    inner, was = wanted, DEFAULTS
    for name in path[:-1]:
        inner, was = inner.setdefault(name, {}), was[name]
    inner[path[-1]] = not was[path[-1]]
    consistent(rendered(wanted), "picket-system")


@pytest.mark.parametrize("values", [{}, SETS["monitored"], SETS["cert-manager"], SETS["nothing-left"], SETS["postgresql"]])
@pytest.mark.parametrize(("name", "namespace"), [(RELEASE, NAMESPACE), ("mesh", "mesh"), ("picket-of-others", "kube-mesh")])
def test_any_name_and_namespace_will_do(name: str, namespace: str, values: Json) -> None:
    """Also the longest, and one that ends with a dash where it is cut."""
    release = rendered(values, name=name, namespace=namespace)
    consistent(release, namespace)
    host = f"{release.of('StatefulSet')[0]['metadata']['name']}.{namespace}.svc"
    config = next(item["data"] for item in release.of("ConfigMap") if "config.yaml" in item["data"])
    assert f"PICKET_SIDECAR_CONTROL_PLANE: {host}:7601" in config["injection.yaml"]
    (hooks,) = release.of("MutatingWebhookConfiguration")
    assert {hook["clientConfig"]["service"]["namespace"] for hook in hooks["webhooks"]} == {namespace}


def test_two_releases_of_long_names_are_told_apart_in_the_cluster() -> None:
    """Nothing that differs behind the end of a name is cut off."""
    one, two = (rendered(name=name, namespace=NAMESPACE) for name in ("a" * 40 + "1", "a" * 40 + "2"))

    def everywhere(release: Rendered) -> set[str]:
        return {item["metadata"]["name"] for item in release.everything if "namespace" not in item["metadata"]}

    assert everywhere(one) & everywhere(two) == {"trafficpolicies.picket.dev"}


def test_names_that_are_given_are_taken() -> None:
    release = rendered({"fullnameOverride": "guard", "nameOverride": "mesh"}, name="x", namespace="y")
    consistent(release, "y")
    assert release.of("StatefulSet")[0]["metadata"]["name"] == "guard"
    assert release.pod["metadata"]["labels"]["app.kubernetes.io/name"] == "mesh"


def test_labels_for_all_are_on_all_and_select_nothing() -> None:
    """On pods too, of hooks too; a Service or a StatefulSet that selected by them could not be upgraded to others."""
    values = SETS["placed"]
    release = rendered(values)
    consistent(release, "picket-system")
    for item in release.everything:
        for found in metadata(item):
            assert values["commonLabels"].items() <= found["labels"].items(), item["kind"]
    claims = release.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    selecting = [item["spec"]["selector"] for item in (*release.of("Service"), *release.of("StatefulSet"))]
    assert not any("team" in str(found) for found in (*selecting, claims))


def test_all_pods_run_where_the_values_say() -> None:
    """The control plane, and those of hooks: a node that nothing else may use would keep them out."""
    values = SETS["placed"]
    release = rendered(values)
    pods = [release.pod["spec"], *(item["spec"] for item in release.hooks if item["kind"] == "Pod")]
    pods += [item["spec"]["template"]["spec"] for item in release.hooks if item["kind"] == "Job"]
    assert len(pods) == 4
    for pod in pods:
        assert [pod[key] for key in ("nodeSelector", "tolerations", "priorityClassName")] == [
            values[key] for key in ("nodeSelector", "tolerations", "priorityClassName")
        ]
    assert release.pod["spec"]["affinity"] == values["affinity"]
    assert release.pod["metadata"]["annotations"].items() >= values["podAnnotations"].items()
    assert release.pod["metadata"]["labels"].items() >= values["podLabels"].items()
    assert values["extraEnv"][0] in release.pod["spec"]["containers"][0]["env"]


def test_a_digest_names_the_image_everywhere_and_a_tag_where_there_is_none() -> None:
    digest = f"sha256:{'0' * 64}"
    for image, wanted in (({"digest": digest, "tag": "x"}, f"picket@{digest}"), ({"tag": "2"}, "picket:2"), ({}, "picket:0.1.0")):
        release = rendered({"image": image, "uninstall": {"hooks": True}})
        text = str(release.everything)
        assert set(re.findall(r"picket[@:][0-9a-z:.]+(?=['\\\\])", text)) == {wanted}


def test_a_rollout_in_two_steps_does_not_need_the_same_size() -> None:
    """What sits behind `lookup` needs a cluster (tests/cluster); without one the values count."""
    release = rendered({"persistence": {"size": "20Gi"}})
    (claim,) = release.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert "have them grow" not in release.notes
