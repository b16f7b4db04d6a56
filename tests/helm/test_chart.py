"""The chart, rendered offline with each documented set of values: valid, safe, and of one piece with what it starts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helm_python.chart import lint
from helm_python.errors import HelmError

from controlplane.cli.entry import picket
from controlplane.cli.serve import controlplane
from controlplane.identity.spiffe import WorkloadId
from controlplane.kubernetes import webhook
from controlplane.kubernetes.injection import rules as injection
from controlplane.kubernetes.injection.containers import SIDECAR
from controlplane.kubernetes.injection.document import parse_rules
from controlplane.kubernetes.names import TRUST_BUNDLE
from controlplane.server.listen import SERVER_NAME
from controlplane.settings import Settings, build_settings
from sidecar.options import ENVIRONMENT_PREFIX
from sidecar.options import _parser as sidecar_parser
from tests.helm.charts import CHART, NAMESPACE, SETS, Json, Rendered, rendered, validate

KUBERNETES = ("1.35", "1.36", "1.37")


@pytest.fixture(params=list(SETS.values()), ids=list(SETS))
def values(request: pytest.FixtureRequest) -> Json:
    """Each documented set."""
    found: Json = request.param
    return found


def settings(release: Rendered, tmp_path: Path) -> Settings:
    """What the control plane reads of the chart's configuration, by its own reader."""
    for name, text in release.one("ConfigMap")["data"].items():
        (tmp_path / name).write_text(text.replace("/etc/picket/", f"{tmp_path}/"))
    with click.Context(controlplane) as outer:
        context = controlplane.make_context("controlplane", ["--config", str(tmp_path / "config.yaml")], parent=outer)
    return build_settings(**context.params)


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_chart_is_clean(values: Json, version: str) -> None:
    """As `helm lint --strict` sees it."""
    report = lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version=f"v{version}.0")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_one_that_kubernetes_takes(values: Json, version: str) -> None:
    """With no field that it, or whoever's kind it is, does not know."""
    for item in rendered(values).everything:
        validate(item, version)


def test_every_object_says_whose_it_is(values: Json) -> None:
    """By its labels, and its namespace where it has one."""
    everywhere = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "CustomResourceDefinition"}
    for item in rendered(values).everything:
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == "picket"
        assert item["metadata"].get("namespace") == (None if item["kind"] in everywhere else NAMESPACE)


def test_two_releases_take_nothing_from_each_other() -> None:
    """Also of what is cluster-wide; the CRD is one by nature."""

    def names(release: Rendered) -> set[tuple[str, str]]:
        found = {(item["kind"], item["metadata"]["name"]) for item in release.everything}
        return found - {("CustomResourceDefinition", "trafficpolicies.picket.dev")}

    assert not names(rendered(name="one")) & names(rendered(name="two"))


def test_the_control_plane_reads_its_configuration(values: Json, tmp_path: Path) -> None:
    """Every option of the ConfigMap is one, and they go together."""
    release = rendered(values)
    read = settings(release, tmp_path)
    assert read.kubernetes
    assert all(listen.is_local for listen in read.api_listen)
    ports = {port["name"]: port["containerPort"] for port in release.pod["spec"]["containers"][0]["ports"]}
    assert read.webhook_listen is not None
    assert read.api_tls_listen is not None
    listening = [
        *(item.port for item in (*read.grpc_listen, *read.enroll_listen)),
        read.api_tls_listen.port,
        read.webhook_listen.port,
    ]
    assert listening == [ports[name] for name in ("grpc", "enroll", "api", "webhook")]


def test_the_webhook_reads_its_rules(values: Json) -> None:
    """And what it gives sidecars are options of theirs."""
    release = rendered(values)
    read = parse_rules(release.one("ConfigMap")["data"]["injection.yaml"].encode(), "injection.yaml")
    assert read.own_namespace == NAMESPACE
    assert read.image == release.pod["spec"]["containers"][0]["image"]
    known = {
        option.replace("--", ENVIRONMENT_PREFIX, 1).replace("-", "_").upper()
        for option in sidecar_parser({})._option_string_actions
    }
    assert set(read.environment) <= known
    host = f"picket.{NAMESPACE}.svc"
    assert read.environment["PICKET_SIDECAR_CONTROL_PLANE"] == f"{host}:7601"
    assert read.environment["PICKET_SIDECAR_ENROLLMENT"] == f"{host}:7602"
    ports = {port["name"]: port["port"] for port in release.one("Service")["spec"]["ports"]}
    assert (ports["grpc"], ports["enroll"], ports["webhook"]) == (7601, 7602, 443)


def test_a_number_is_a_quantity_as_everywhere() -> None:
    """As `--set injection.resources.limits.cpu=2` makes it."""
    release = rendered({"injection": {"resources": {"limits": {"cpu": 2, "memory": "300Mi"}, "requests": {"cpu": 0.5}}}})
    read = parse_rules(release.one("ConfigMap")["data"]["injection.yaml"].encode(), "injection.yaml")
    assert (dict(read.resources.limits), read.resources.requests["cpu"]) == ({"cpu": "2", "memory": "300Mi"}, "0.5")


@pytest.mark.parametrize(
    ("values", "may"),
    [
        ({"crds": {"install": False}}, False),
        ({"crds": {"install": False}, "settings": {"kubernetes-policies": True}}, True),
        ({"settings": {"kubernetes-policies": False}}, False),
        ({}, True),
    ],
)
def test_policy_objects_may_be_read_where_they_are_put_into_force(values: Json, may: bool, tmp_path: Path) -> None:
    """Also where somebody else installs the CRD; and not where nobody reads them."""
    release = rendered(values)
    (role,) = release.of("ClusterRole")
    assert any("trafficpolicies" in rule["resources"] for rule in role["rules"]) is may
    assert settings(release, tmp_path).kubernetes_policies is may


def test_settings_hold_for_sidecars_too(tmp_path: Path) -> None:
    """A pod's token is for whom the control plane asks about, and its sidecar is of the same mesh."""
    release = rendered({"settings": {"kubernetes-audience": "mesh", "trust-domain": "mesh.example"}})
    read = parse_rules(release.one("ConfigMap")["data"]["injection.yaml"].encode(), "injection.yaml")
    told = settings(release, tmp_path)
    assert (read.audience, read.environment["PICKET_SIDECAR_TRUST_DOMAIN"]) == ("mesh", "mesh.example")
    assert (told.kubernetes_audience, told.trust_domain) == ("mesh", "mesh.example")


def test_the_certificate_has_the_names_that_are_dialled(values: Json, tmp_path: Path) -> None:
    """By sidecars, by the API server, by Prometheus, and by an ingress."""
    release = rendered(values)
    read = settings(release, tmp_path)
    assert f"picket.{NAMESPACE}.svc" in read.server_names
    assert set(read.server_names) <= set(read.api_host_names)
    pods = {name for name in read.api_host_names if name.endswith(f".picket-pods.{NAMESPACE}.svc")}
    assert len(pods) == values.get("autoscaling", {}).get("maxReplicas", 1)
    for ingress in release.of("Ingress"):
        assert ingress["spec"]["rules"][0]["host"] in read.api_host_names
    for monitor in release.of("ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["tlsConfig"]["serverName"] in read.server_names
        host = endpoint["relabelings"][0]["replacement"].replace("$1", "picket-0").removesuffix(":7603")
        assert host in read.api_host_names


def test_the_api_server_asks_where_the_webhook_is(values: Json) -> None:
    """For pods that are made, where a label asks for it, never in kube-system or here; and refuses when nobody answers."""
    (configuration,) = rendered(values).of("MutatingWebhookConfiguration")
    assert [hook["name"] for hook in configuration["webhooks"]] == ["namespace.injection.picket.dev", "pod.injection.picket.dev"]
    for hook in configuration["webhooks"]:
        assert hook["clientConfig"] == {"service": {"name": "picket", "namespace": NAMESPACE, "path": webhook.PATH, "port": 443}}
        assert (hook["sideEffects"], hook["failurePolicy"], hook["reinvocationPolicy"]) == ("None", "Fail", "IfNeeded")
        never, label = hook["namespaceSelector"]["matchExpressions"]
        assert set(never["values"]) == {*injection.NEVER, NAMESPACE}
        assert label["key"] == hook["objectSelector"]["matchExpressions"][0]["key"] == injection.INJECTION_LABEL


@pytest.mark.parametrize(
    ("namespace", "pod", "asked"),
    [
        ("enabled", None, ["namespace"]),
        ("enabled", "enabled", ["namespace"]),
        ("enabled", "disabled", []),
        (None, None, []),
        (None, "enabled", ["pod"]),
        (None, "disabled", []),
        ("disabled", "enabled", ["pod"]),
        ("disabled", None, []),
    ],
)
def test_labels_decide_who_is_asked_about(namespace: str | None, pod: str | None, asked: list[str]) -> None:
    """A namespace in, a pod out; a pod in. Never twice for one pod."""

    def holds(selector: Json, labels: dict[str, str]) -> bool:
        for rule in selector["matchExpressions"]:
            is_in = labels.get(rule["key"]) in rule["values"]
            if is_in is (rule["operator"] == "NotIn"):
                return False
        return True

    def labels(value: str | None) -> dict[str, str]:
        return {} if value is None else {injection.INJECTION_LABEL: value}

    (configuration,) = rendered().of("MutatingWebhookConfiguration")
    found = [
        hook["name"].partition(".")[0]
        for hook in configuration["webhooks"]
        if holds(hook["namespaceSelector"], {**labels(namespace), "kubernetes.io/metadata.name": "shop"})
        and holds(hook["objectSelector"], labels(pod))
    ]
    assert found == asked


def pods(release: Rendered) -> Iterator[Json]:
    """Every pod that the chart itself starts."""
    yield release.pod["spec"]
    for item in release.hooks:
        if item["kind"] in {"Pod", "Job"}:
            yield item["spec"] if item["kind"] == "Pod" else item["spec"]["template"]["spec"]


def test_its_own_pods_are_restricted(values: Json) -> None:
    """As the pod security standard of that name says; the node's network is asked for by a value of its own."""
    for spec in pods(rendered(values)):
        assert spec.get("imagePullSecrets", []) == [{"name": name} for name in values.get("image", {}).get("pullSecrets", [])]
        whole = spec["securityContext"]
        assert whole["runAsNonRoot"] is True
        assert whole["runAsUser"] > 0
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        asked = values.get("webhook", {}).get("hostNetwork", False) and spec["containers"][0]["name"] == "controlplane"
        assert spec.get("hostNetwork", False) is asked
        assert not {"hostPID", "hostIPC"} & spec.keys()
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert not any("hostPort" in port for port in container.get("ports", []))
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume}
        assert kinds <= {"name", "configMap", "emptyDir", "secret", *(["csi"] if "spire" in values else [])}


def test_what_is_named_is_there(values: Json) -> None:
    """Ports, accounts, volumes, services: nothing refers to a thing that the chart does not make and was not told."""
    release = rendered(values)
    spec = release.pod["spec"]
    (container,) = spec["containers"]
    ports = {port["name"] for port in container["ports"]}
    for service in release.of("Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        assert service["spec"]["selector"].items() <= release.pod["metadata"]["labels"].items()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    for policy in release.of("NetworkPolicy"):
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert container["workingDir"] in writable  # `picket user add` leaves a token where it runs
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]} | {"data"}
    assert [item["metadata"]["name"] for item in release.of("ServiceAccount")] == [spec["serviceAccountName"]]
    assert spec["enableServiceLinks"] is False  # a service called picket would set PICKET_ variables, which are options
    (binding,) = release.of("ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": spec["serviceAccountName"], "namespace": NAMESPACE}]
    assert binding["roleRef"]["name"] == release.of("ClusterRole")[0]["metadata"]["name"]
    assert release.one("StatefulSet")["spec"]["serviceName"] in {item["metadata"]["name"] for item in release.of("Service")}
    for scaler in release.of("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == release.one("StatefulSet")["metadata"]["name"]
    secrets = {item["valueFrom"]["secretKeyRef"]["name"] for item in container["env"] if "valueFrom" in item}
    assert secrets == ({values["postgresql"]["existingSecret"]} if "postgresql" in values else set())


def test_the_programs_are_there() -> None:
    """Those that containers start, and those that the notes tell people to run."""
    scripts = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    release = rendered()
    command = release.pod["spec"]["containers"][0]["command"]
    assert command[0] in scripts
    assert isinstance(picket, click.Group)
    with click.Context(picket) as context:
        known = set(picket.list_commands(context))
    assert command[1] in known
    told = re.findall(r"^  picket ([a-z-]+)", release.notes, re.MULTILINE)
    assert told
    assert set(told) <= known


def test_the_notes_say_the_next_step() -> None:
    """The label that turns learning on, with no step before it but waiting."""
    assert f"kubectl label namespace NAMESPACE {injection.INJECTION_LABEL}={injection.ENABLED}" in rendered().notes


def test_the_notes_say_what_stays(values: Json) -> None:
    """All that is not the release's own after it is removed; a Secret or CRD that others made is theirs."""
    release = rendered(values)
    assert "\n\nTo remove Picket" in release.notes
    first, _, told = release.notes.partition("`helm uninstall` keeps")
    assert f"{injection.INJECTION_LABEL}-" in first.partition("To remove Picket")[2]
    assert f"kubectl delete configmap -A --field-selector metadata.name={TRUST_BUNDLE}" in told
    kept = values.get("persistence", {}).get("keep", True)
    assert (f"kubectl delete pvc -n {NAMESPACE} -l app.kubernetes.io/instance=picket" in told) is kept
    assert (release.one("StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain") is kept
    assert (f"delete secret -n {NAMESPACE} picket-ca" in told) is not ("ca" in values or "spire" in values)
    assert (f"delete secret -n {NAMESPACE} picket-webhook" in told) is bool(release.of("Certificate"))
    crds = release.of("CustomResourceDefinition")
    assert ("delete crd" in told) is any("helm.sh/resource-policy" in crd["metadata"].get("annotations", {}) for crd in crds)


@pytest.mark.parametrize(
    ("more", "volume"),
    [
        ({}, {"csi": {"driver": "csi.spiffe.io", "readOnly": True}}),
        ({"csiDriver": "", "hostPath": "/run/spire"}, {"hostPath": {"path": "/run/spire", "type": "Directory"}}),
    ],
    ids=["csi", "hostPath"],
)
def test_with_spire_control_plane_and_sidecars_ask_its_socket_and_no_authority_is_kept(
    more: Json, volume: Json, tmp_path: Path
) -> None:
    """By the same volume, and with neither Secret nor token review."""
    hints = {"controlPlaneHint": "plane", "sidecarHint": "mesh", "socket": "agent.sock"}
    release = rendered(SETS["spire"] | {"spire": {"enabled": True, **hints, **more}})
    read = settings(release, tmp_path)
    assert (read.workload_api, read.svid_hint, read.kubernetes_ca_secret) == ("unix:/run/spire/agent.sock", "plane", "")
    (mounted,) = [each for each in release.pod["spec"]["volumes"] if each["name"] == "spire"]
    assert mounted == {"name": "spire", **volume}
    injected = parse_rules(release.one("ConfigMap")["data"]["injection.yaml"].encode(), "injection.yaml")
    assert injected.workload_api == injection.WorkloadApi(
        "agent.sock", more.get("csiDriver", "csi.spiffe.io"), more.get("hostPath", ""), "mesh"
    )
    assert injected.environment["PICKET_SIDECAR_TRUST_DOMAIN"] == read.trust_domain == "example.org"
    assert not release.of("Role")
    (role,) = release.of("ClusterRole")
    assert not any("tokenreviews" in rule["resources"] for rule in role["rules"])


def test_what_the_example_registers_is_who_they_are(tmp_path: Path) -> None:
    """Sidecars by the identity that they expect, the control plane by the names that its certificate has to have."""
    text = (CHART / "examples" / "spire" / "registered.yaml").read_text()
    sidecars, plane = (each["spec"] for each in yaml.safe_load_all(text))
    found = sidecars["spiffeIDTemplate"].replace("{{ .TrustDomain }}", "example.org")
    found = found.replace("{{ .PodMeta.Namespace }}", "shop").replace("{{ .PodSpec.ServiceAccountName }}", "cart")
    assert found == WorkloadId("shop", "cart").uri("example.org")
    assert sidecars["workloadSelectorTemplates"] == [f"k8s:container-name:{SIDECAR}"]
    release = rendered(SETS["spire"])
    assert set(plane["dnsNameTemplates"]) == {SERVER_NAME, *settings(release, tmp_path).server_names}
    assert plane["podSelector"]["matchLabels"].items() <= release.pod["metadata"]["labels"].items()
    assert plane["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == NAMESPACE


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"spire": {"enabled": True, "csiDriver": ""}}, "one of csiDriver and hostPath"),
        ({"spire": {"enabled": True, "hostPath": "/run/spire"}}, "one of csiDriver and hostPath"),
        ({"spire": {"enabled": True, "hostPath": "run"}}, "hostPath"),
        ({"spire": {"enabled": True, "socket": "a/b"}}, "socket"),
        ({"spire": {"enabled": True}, "ca": {"secret": "x"}}, "no authority of Picket's own"),
        ({"replicas": 2}, "postgresql.existingSecret"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"ingress": {"enabled": True, "host": "picket.example.org"}}, "networkPolicy.apiFrom"),
        ({"metrics": {"serviceMonitor": {"enabled": True}}, "networkPolicy": {"enabled": False}}, "tokenSecret"),
        ({"metrics": {"serviceMonitor": {"enabled": True, "tokenSecret": {"name": "x"}}}}, "networkPolicy.apiFrom"),
        ({"autoscaling": {"enabled": True, "minReplicas": 9}, "postgresql": {"existingSecret": "x"}}, "minReplicas"),
        ({"webhook": {"port": 7601}}, "port"),
        ({"webhook": {"certificate": {"provider": "cert-manager"}}}, "webhook.certificate.issuerRef.name"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
        ({"replica": 1}, "replica"),
        ({"injection": {"failurePolicy": "Sometimes"}}, "failurePolicy"),
        ({"image": {"repository": "a b"}}, "repository"),
        ({"settings": {"four-eye": True}}, "four-eye"),
        ({"metrics": {"podMonitor": {"tokenSecret": {"name": "x"}}}}, "tokenSecret"),
    ],
)
def test_values_that_cannot_be_are_told(wrong: Json, reason: str) -> None:
    """Before anything is installed."""
    with pytest.raises(HelmError) as told:
        rendered(wrong)
    assert reason in str(told.value)


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    """So that none is forgotten in either."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(value: Any, shape: Json, path: str) -> None:
        shape = schema["definitions"][shape["$ref"].rpartition("/")[2]] if "$ref" in shape else shape
        if isinstance(value, dict) and "properties" in shape:
            assert shape["additionalProperties"] is False, path
            assert set(value) <= set(shape["properties"]), path
            for key, inner in value.items():
                compare(inner, shape["properties"][key], f"{path}.{key}")

    compare(values, schema, "")
    assert set(schema["properties"]) - {"global"} == set(values)


def test_a_setting_is_an_option_of_the_control_plane() -> None:
    """A name that is none is told before anything is installed, and none is missing."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    options = {option.removeprefix("--") for parameter in controlplane.params for option in parameter.opts}
    assert set(schema["properties"]["settings"]["propertyNames"]["enum"]) == options - {"config"}
