"""HTTP hooks: which go to the agent, what it is told to call, and that nobody else can."""

from __future__ import annotations

import dataclasses
import json

import pytest

from controlplane.kubernetes.injection import hooks, probes
from controlplane.kubernetes.injection.decide import Injected, decide
from controlplane.kubernetes.injection.review import Json, PodCreation
from controlplane.kubernetes.injection.rules import Rules
from tests.controlplane.kubernetes.injection.reviews import LEGACY, RULES, container, creation, patched, variables

HEADERS = [{"name": "Host", "value": "shop.example.org"}, {"name": "X-Drain", "value": "now"}]
FULL: Json = {"httpGet": {"path": "/drain?now=1", "port": "http", "scheme": "HTTPS", "httpHeaders": HEADERS}}


def asked_with(lifecycle: Json, uid: str = "3c6c1d1e-0000-4000-8000-000000000001") -> PodCreation:
    """The creation of a pod whose only container has these hooks."""
    asked = creation("deployment-http")
    asked.pod["spec"]["containers"][0]["lifecycle"] = lifecycle
    return dataclasses.replace(asked, uid=uid)


def recorded(pod: Json) -> dict[str, Json]:
    """The hooks that the agent of a patched pod has to make."""
    found = json.loads(variables(pod)[probes.VARIABLE])
    return {path: entry for path, entry in found.items() if path.startswith(hooks.PREFIX)}


def warned(lifecycle: Json, rules: Rules = RULES) -> tuple[str, ...]:
    """What whoever makes such a pod is told."""
    decided = decide(asked_with(lifecycle), rules)
    assert isinstance(decided, Injected)
    return decided.warnings


def test_http_hooks_go_to_the_agent_with_scheme_headers_and_host() -> None:
    """A named port becomes its number; there is no warning any more."""
    pod = patched(asked_with({"postStart": FULL, "preStop": {"httpGet": {"port": 8080}}}))
    made = container(pod, "server")["lifecycle"]
    assert {key: (hook["httpGet"]["port"], hook["httpGet"]["scheme"]) for key, hook in made.items()} == {
        "postStart": (15020, "HTTP"), "preStop": (15020, "HTTP"),
    }  # fmt: skip
    assert {path.rpartition("/")[0]: entry for path, entry in recorded(pod).items()} == {
        "/app-lifecycle/server/poststart": {
            "httpGet": {"path": "/drain?now=1", "port": 8080, "scheme": "HTTPS", "httpHeaders": HEADERS}, "timeoutSeconds": 3600,
        },
        "/app-lifecycle/server/prestop": {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 3600},
    }  # fmt: skip
    assert {hook["httpGet"]["path"] for hook in made.values()} == set(recorded(pod))
    assert warned({"postStart": FULL, "preStop": FULL}) == ()


def test_the_word_of_a_hook_is_no_other_hooks_and_no_other_pods() -> None:
    """Who has seen one pod can call nothing of its neighbour."""
    paths = [set(recorded(patched(asked_with({"postStart": FULL, "preStop": FULL}, uid)))) for uid in ("a", "b")]
    words = {path.rpartition("/")[2] for path in paths[0] | paths[1]}
    assert len(words) == 4


def test_a_second_review_has_another_uid_and_changes_nothing() -> None:
    """The word of the first stays: kubelet and agent have to agree."""
    first = asked_with({"postStart": FULL, "preStop": FULL})
    pod = patched(first)
    again = decide(dataclasses.replace(first, uid="another", pod=pod), RULES)
    assert isinstance(again, Injected)
    assert (again.patch, again.warnings) == ((), ())


def test_hooks_that_need_no_agent_stay() -> None:
    """By exec, after a while, or of another host, which kubelet dials itself."""
    for hook in ({"exec": {"command": ["x"]}}, {"sleep": {"seconds": 3}}, {"httpGet": {"port": 80, "host": "192.0.2.1"}}):
        pod = patched(asked_with({"preStop": hook}))
        assert container(pod, "server")["lifecycle"] == {"preStop": hook}
        assert recorded(pod) == {}
        assert warned({"preStop": hook}) == ()


@pytest.mark.parametrize(
    "handler", [{"port": "nowhere"}, {"port": 15006}, {"port": 80, "path": "/a b"}, {"port": 80, "httpHeaders": [{"name": ":"}]}]
)
def test_one_that_the_agent_cannot_make_is_named(handler: Json) -> None:
    """It stays kubelet's, and would be refused where the service is enforced."""
    pod = patched(asked_with({"preStop": {"httpGet": handler}}))
    assert container(pod, "server")["lifecycle"] == {"preStop": {"httpGet": handler}}
    (warning,) = warned({"preStop": {"httpGet": handler}})
    assert "container server: preStop: an HTTP hook" in warning


def test_on_older_clusters_the_first_hook_may_come_too_early_and_that_is_said() -> None:
    """There the sidecar is no earlier than the application."""
    (warning,) = warned({"postStart": FULL, "preStop": FULL}, LEGACY)
    assert "postStart: an HTTP hook may come before the sidecar is there" in warning


def test_a_path_that_somebody_wrote_by_hand_leads_nowhere() -> None:
    """No pass recorded what it stands for, so the agent has nothing to call."""
    path = f"{hooks.PREFIX}/server/prestop/{'0' * 32}"
    pod = patched(asked_with({"preStop": {"httpGet": {"port": 15020, "path": path}}}))
    assert recorded(pod) == {}
