"""Injection on the reviews of real kinds of pods: who gets a sidecar, who does not, and what the patched pod is."""

from __future__ import annotations

import dataclasses

import kubernetes_validate
import pytest

from controlplane.kubernetes.injection.decide import Injected, Refused, Skipped, decide
from controlplane.kubernetes.injection.rules import Rules
from tests.controlplane.kubernetes.injection.reviews import DATA, LEGACY, RULES, container, creation, patched, variables

INJECTED = (
    "cronjob",
    "deployment-exec",
    "deployment-foreign-probe",
    "deployment-grpc",
    "deployment-http",
    "job",
    "pod-exclusions",
    "pod-no-token",
    "pod-opted-in",
    "pod-privileged",
    "pod-with-first-steps",
    "pod-without-account",
    "statefulset-tcp",
)
SKIPPED = {
    "daemonset-host-network": "node's network", "pod-opted-out": "label picket.dev/injection: disabled", "pod-windows": "Windows",
}  # fmt: skip
REFUSED = {
    "pod-1337": "container main: runAsUser 1337", "pod-1337-pod-level": "the pod: runAsUser 1337",
    "pod-own-port": "container main: port 15006",
}  # fmt: skip
KUBERNETES = ("1.35", "1.36", "1.37")


def test_each_review_of_the_data_is_looked_at() -> None:
    """No file is forgotten."""
    assert {file.stem for file in DATA.glob("*.json")} == {*INJECTED, *SKIPPED, *REFUSED}


@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
@pytest.mark.parametrize("name", INJECTED)
def test_a_patched_pod_is_one_that_kubernetes_takes(name: str, rules: Rules) -> None:
    """The three newest minors' schemas hold, with no field that they do not know."""
    pod = patched(creation(name), rules)
    for version in KUBERNETES:
        kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
@pytest.mark.parametrize("name", INJECTED)
def test_a_second_pass_changes_nothing(name: str, rules: Rules) -> None:
    """The webhook may be asked again (reinvocationPolicy: IfNeeded)."""
    asked = creation(name)
    again = decide(dataclasses.replace(asked, pod=patched(asked, rules)), rules)
    assert isinstance(again, Injected)
    assert again.patch == ()


@pytest.mark.parametrize(("name", "reason"), SKIPPED.items())
def test_pods_that_cannot_have_or_do_not_want_one_go_without(name: str, reason: str) -> None:
    """They are let be, with the reason at hand."""
    decided = decide(creation(name), RULES)
    assert isinstance(decided, Skipped)
    assert reason in decided.reason


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_pods_whose_sidecar_would_not_hold_are_refused(name: str, reason: str) -> None:
    """An application as the sidecar's user would go past it."""
    decided = decide(creation(name), RULES)
    assert isinstance(decided, Refused)
    assert reason in decided.reason


@pytest.mark.parametrize("namespace", ["kube-system", "picket-system"])
def test_nothing_is_injected_where_it_would_stand_in_its_own_way(namespace: str) -> None:
    """Not even into a pod that asks for it."""
    decided = decide(dataclasses.replace(creation("pod-opted-in"), namespace=namespace), RULES)
    assert decided == Skipped(f"nothing is injected in namespace {namespace}")


@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
def test_only_the_step_that_ends_has_a_privilege(rules: Rules) -> None:
    """NET_ADMIN and NET_RAW are its alone; the sidecar is user 1337 with nothing."""
    pod = patched(creation("deployment-http"), rules)
    step, sidecar = container(pod, "picket-init")["securityContext"], container(pod, "picket-sidecar")["securityContext"]
    assert step["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert sidecar["capabilities"] == {"drop": ["ALL"]}
    assert (sidecar["runAsUser"], sidecar["runAsNonRoot"], sidecar["readOnlyRootFilesystem"]) == (1337, True, True)
    assert not step["privileged"]
    assert not sidecar["allowPrivilegeEscalation"]
    assert "capabilities" not in container(pod, "server").get("securityContext", {})


def test_a_native_sidecar_stands_before_the_pods_own_first_steps() -> None:
    """They may want the network, and a Job ends although its sidecar does not."""
    pod = patched(creation("pod-with-first-steps"))
    assert [item["name"] for item in pod["spec"]["initContainers"]] == ["picket-init", "picket-sidecar", "fetch", "cache"]
    assert container(pod, "picket-sidecar")["restartPolicy"] == "Always"
    assert "restartPolicy" not in container(pod, "picket-init")


def test_an_older_cluster_gets_it_among_the_containers() -> None:
    """The redirect comes after the pod's own first steps, and logs are still the application's."""
    pod = patched(creation("pod-with-first-steps"), LEGACY)
    assert [item["name"] for item in pod["spec"]["initContainers"]] == ["fetch", "cache", "picket-init"]
    assert [item["name"] for item in pod["spec"]["containers"]] == ["picket-sidecar", "main"]
    assert "restartPolicy" not in container(pod, "picket-sidecar")
    assert pod["metadata"]["annotations"] == {"kubectl.kubernetes.io/default-container": "main"}


def test_the_token_is_for_picket_alone() -> None:
    """Also in a pod whose own token is turned off."""
    pod = patched(creation("pod-no-token"))
    volume = next(item for item in pod["spec"]["volumes"] if item["name"] == "picket-identity")
    assert volume["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "picket", "expirationSeconds": 3600, "path": "token"}},
        {"configMap": {"name": "picket-trust-bundle", "items": [{"key": "bundle.pem", "path": "bundle.pem"}]}},
    ]
    mount = {"name": "picket-identity", "mountPath": "/var/run/secrets/picket", "readOnly": True}
    assert mount in container(pod, "picket-sidecar")["volumeMounts"]
    assert "volumeMounts" not in container(pod, "main")


def test_the_digest_that_pins_the_applications_image_is_said() -> None:
    asked = creation("pod-opted-in")
    assert "PICKET_SIDECAR_IMAGE_DIGEST" not in variables(patched(asked))
    digest = "sha256:" + "0f" * 32
    asked.pod["spec"]["containers"][0]["image"] = f"registry.example.org/shop/cart:1@{digest}"
    assert variables(patched(asked))["PICKET_SIDECAR_IMAGE_DIGEST"] == digest


def test_the_drain_ends_before_the_pod_has_to() -> None:
    """Within terminationGracePeriodSeconds, with time to stop and report."""
    names = ("statefulset-tcp", "cronjob", "job")
    assert [variables(patched(creation(name)))["PICKET_SIDECAR_DRAIN_SECONDS"] for name in names] == ["57", "2", "12"]


def test_exclusions_hold_where_an_administrator_allowed_them() -> None:
    """The step gets them as options."""
    decided = decide(creation("pod-exclusions"), RULES)
    assert isinstance(decided, Injected)
    assert decided.warnings == ()
    assert container(patched(creation("pod-exclusions")), "picket-init")["args"] == [
        "init", "--uid", "1337", "--exclude-inbound-ports", "9100,9200", "--exclude-outbound-ports", "123",
        "--exclude-outbound-cidrs", "192.0.2.0/24,2001:db8::/32",
    ]  # fmt: skip


def test_exclusions_are_not_heeded_elsewhere_and_that_is_said() -> None:
    """Whoever may make pods may not open a way around the policy."""
    asked = dataclasses.replace(creation("pod-exclusions"), namespace="shop")
    decided = decide(asked, RULES)
    assert isinstance(decided, Injected)
    assert "not heeded" in decided.warnings[0]
    assert container(patched(asked), "picket-init")["args"] == ["init", "--uid", "1337"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("inbound-ports", "http"), ("outbound-ports", "0"), ("outbound-cidrs", "0.0.0.0/0"), ("outbound-cidrs", "10.0.0.1/8")],
)
def test_an_exclusion_that_says_nothing_is_refused(key: str, value: str) -> None:
    """A typing mistake must not end as a pod that never starts."""
    asked = creation("pod-exclusions")
    asked.pod["metadata"]["annotations"] = {f"picket.dev/exclude-{key}": value}
    decided = decide(asked, RULES)
    assert isinstance(decided, Refused)
    assert key in decided.reason


def test_who_could_undo_the_redirect_is_named() -> None:
    """The pod is let be, and the person who makes it reads it."""
    decided = decide(creation("pod-privileged"), RULES)
    assert isinstance(decided, Injected)
    assert [warning.split(",")[0] for warning in decided.warnings] == [
        "picket: container main has NET_ADMIN",
        "picket: container side is privileged",
    ]


def test_what_comes_under_pickets_names_is_replaced() -> None:
    """A pod cannot bring a sidecar, a token or a state of its own making."""
    asked = creation("deployment-http")
    forged = {"name": "picket-sidecar", "image": "evil/proxy:1", "securityContext": {"runAsUser": 1337}}
    asked.pod["spec"]["containers"].append(forged)
    asked.pod["spec"]["initContainers"] = [{"name": "picket-init", "image": "evil/nothing:1"}]
    asked.pod["spec"]["volumes"].append({"name": "picket-identity", "emptyDir": {}})
    assert patched(asked) == patched(creation("deployment-http"))


@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
def test_what_the_api_server_fills_in_between_both_passes_stays(rules: Rules) -> None:
    """A LimitRange's defaults and AlwaysPullImages; what Picket says itself stands."""
    asked = creation("deployment-http")
    pod = patched(asked, rules)
    sidecar, step = container(pod, "picket-sidecar"), container(pod, "picket-init")
    said = sidecar["resources"]["limits"]["memory"]
    for filled in (sidecar, step):
        filled["resources"]["limits"] |= {"cpu": "500m"}
        filled["imagePullPolicy"] = "Always"
    sidecar["resources"]["limits"]["memory"] = "1Ki"
    again = patched(dataclasses.replace(asked, pod=pod), rules)
    assert container(again, "picket-sidecar")["resources"]["limits"] == {"cpu": "500m", "memory": said}
    assert container(again, "picket-init") == step
    assert container(again, "picket-sidecar")["imagePullPolicy"] == "Always"
    assert patched(dataclasses.replace(asked, pod=again), rules) == again


def test_a_pod_of_pickets_names_alone_is_refused() -> None:
    """Nothing would be left of it."""
    asked = creation("job")
    asked.pod["spec"]["containers"][0]["name"] = "picket-sidecar"
    assert isinstance(decide(asked, RULES), Refused)


def test_pull_secrets_are_added_once() -> None:
    """A private registry's image can be had in each namespace that has the secret."""
    rules = dataclasses.replace(RULES, pull_secrets=("registry",))
    asked = creation("job")
    asked.pod["spec"]["imagePullSecrets"] = [{"name": "own"}]
    pod = patched(asked, rules)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "own"}, {"name": "registry"}]
    assert patched(dataclasses.replace(asked, pod=pod), rules) == pod
