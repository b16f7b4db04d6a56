"""Whatever valid pod comes: its patched self is valid too, keeps what was in it, and a second pass changes nothing."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jsonpatch
import kubernetes_validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.kubernetes.injection.decide import Injected, decide
from controlplane.kubernetes.injection.review import PodCreation
from controlplane.kubernetes.injection.rules import Rules
from tests.controlplane.kubernetes.injection.reviews import LEGACY, RULES

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
PORTS = st.integers(1, 14_999)
MORE = {"periodSeconds": st.integers(1, 60), "timeoutSeconds": st.integers(1, 60), "failureThreshold": st.integers(1, 9)}
HTTP = st.fixed_dictionaries(
    {"port": PORTS | st.just("http")},
    optional={
        "path": st.sampled_from(["/", "/healthz", "/a?b=c"]), "scheme": st.sampled_from(["HTTP", "HTTPS"]),
        "host": st.just("192.0.2.1"),
        "httpHeaders": st.lists(st.fixed_dictionaries({"name": NAMES, "value": st.text(max_size=5)}), max_size=2),
    },
)  # fmt: skip
HANDLERS = (
    st.fixed_dictionaries({"httpGet": HTTP}, optional=MORE)
    | st.fixed_dictionaries({"tcpSocket": st.fixed_dictionaries({"port": PORTS | st.just("http")})}, optional=MORE)
    | st.fixed_dictionaries({"grpc": st.fixed_dictionaries({"port": PORTS}, optional={"service": NAMES})}, optional=MORE)
    | st.fixed_dictionaries({"exec": st.fixed_dictionaries({"command": st.lists(NAMES, max_size=2)})}, optional=MORE)
)
HOOKS = (
    st.fixed_dictionaries({"httpGet": HTTP})
    | st.fixed_dictionaries({"exec": st.fixed_dictionaries({"command": st.lists(NAMES, max_size=2)})})
    | st.just({"sleep": {"seconds": 1}})
)
CONTEXT = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.integers(0, 1336), "privileged": st.booleans(), "runAsNonRoot": st.booleans(),
        "capabilities": st.fixed_dictionaries({"add": st.lists(st.sampled_from(["NET_ADMIN", "SYS_TIME"]), max_size=2)}),
    },
)  # fmt: skip
OPTIONAL: dict[Any, st.SearchStrategy[Any]] = {
    "livenessProbe": HANDLERS,
    "readinessProbe": HANDLERS,
    "startupProbe": HANDLERS,
    "lifecycle": st.fixed_dictionaries({}, optional={"postStart": HOOKS, "preStop": HOOKS}),
    "securityContext": CONTEXT,
    "ports": st.just([{"name": "http", "containerPort": 8080}])
    | st.lists(st.fixed_dictionaries({"containerPort": PORTS}), max_size=3),
    "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": st.text(max_size=5)}), max_size=2),
}
CONTAINER = st.fixed_dictionaries({"name": NAMES, "image": NAMES}, optional=OPTIONAL)
FIRST = st.fixed_dictionaries({"name": NAMES, "image": NAMES}, optional={**OPTIONAL, "restartPolicy": st.just("Always")})


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """A pod whose containers have names of their own."""
    names: set[str] = set()

    def fresh(container: dict[str, Any]) -> bool:
        taken = container["name"] in names
        names.add(container["name"])
        return not taken

    spec: dict[str, Any] = {"containers": draw(st.lists(CONTAINER.filter(fresh), min_size=1, max_size=3))}
    if first := draw(st.lists(FIRST.filter(fresh), max_size=2)):
        spec["initContainers"] = first
    spec |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "terminationGracePeriodSeconds": st.integers(0, 4000),
                "securityContext": st.fixed_dictionaries({"fsGroup": st.integers(1, 99)}),
                "volumes": st.just([{"name": "data", "emptyDir": {}}]),
                "imagePullSecrets": st.just([{"name": "registry"}]),
                "restartPolicy": st.sampled_from(["Always", "Never"]),
                "automountServiceAccountToken": st.booleans(),
            },
        )
    )
    metadata = draw(st.fixed_dictionaries({"name": NAMES}, optional={"labels": st.dictionaries(NAMES, NAMES, max_size=2)}))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(pods(), st.sampled_from([RULES, LEGACY, dataclasses.replace(RULES, pull_secrets=("registry",))]))
def test_a_patched_pod_is_valid_and_stays_as_it_is(pod: dict[str, Any], rules: Rules) -> None:
    """And of the application nothing but its probes and hooks is changed."""
    before = copy.deepcopy(pod)
    decided = decide(PodCreation("u", "shop", pod), rules)
    assert isinstance(decided, Injected)
    assert pod == before
    changed = jsonpatch.apply_patch(copy.deepcopy(pod), list(decided.patch))
    kubernetes_validate.validate(changed, "1.37", strict=True)
    again = decide(PodCreation("another", "shop", changed), rules)
    assert isinstance(again, Injected)
    assert again.patch == ()
    probes = {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"}
    for key in ("initContainers", "containers"):
        kept = [item for item in changed["spec"].get(key, []) if not item["name"].startswith("picket-")]
        assert [{name: value for name, value in item.items() if name not in probes} for item in kept] == [
            {name: value for name, value in item.items() if name not in probes} for item in pod["spec"].get(key, [])
        ]
