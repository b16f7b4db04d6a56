"""What `helm uninstall` does by the chart's own Jobs: in which order, by which command, and with the rights for that alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cli.entry import run
from tests.controlplane.kubernetes.test_running import kubeconfig
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.kubeobjects import pod
from tests.helm.charts import NAMESPACE, SETS, Json, Rendered, is_hook, rendered
from tests.helm.test_rbac import Call, allows, call

NOTHING_LEFT = SETS["nothing-left"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A cluster in which a release ran."""
    with running_api() as made:
        made.put("mutatingwebhookconfigurations", f"{NAMESPACE}-picket", {"webhooks": []})
        made.put("secrets", "picket-ca", {"data": {}}, NAMESPACE)
        for namespace in ("shop", "web"):
            made.put("configmaps", "picket-trust-bundle", {"data": {}}, namespace)
        made.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop")
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, made.url, NAMESPACE)))
        yield made


def at(release: Rendered, event: str) -> list[Json]:
    """What Helm makes at an event, in its order."""
    found = [item for item in release.hooks if is_hook(item, event)]
    return sorted(found, key=lambda item: int(item["metadata"]["annotations"].get("helm.sh/hook-weight", "0")))


def commands(release: Rendered, event: str) -> list[list[str]]:
    """The commands of an event's Jobs."""
    pods = [item["spec"]["template"]["spec"] for item in at(release, event) if item["kind"] == "Job"]
    return [pod["containers"][0]["command"] for pod in pods]


def rules(release: Rendered, event: str, kind: str) -> list[Json]:
    """What the Jobs of an event may do everywhere (ClusterRole), or in the release's own namespace (Role)."""
    return [rule for item in at(release, event) if item["kind"] == kind for rule in item["rules"]]


def test_the_webhook_goes_first_and_what_was_kept_elsewhere_last() -> None:
    """Each Job after what it needs is there."""
    release = rendered()
    assert commands(release, "pre-delete") == [["picket", "cluster", "stop-injection", f"{NAMESPACE}-picket"]]
    assert commands(release, "post-delete") == [["picket", "cluster", "clean"]]
    for event in ("pre-delete", "post-delete"):
        kinds = [item["kind"] for item in at(release, event)]
        assert kinds == sorted(kinds, key=["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"].index)
        assert len(kinds) == 4


def test_what_is_not_there_is_not_removed() -> None:
    """Without injection there is no webhook; an authority that somebody else made is theirs."""
    assert at(rendered({"injection": {"enabled": False}}), "pre-delete") == []
    assert commands(rendered(NOTHING_LEFT), "post-delete") == [["picket", "cluster", "clean", "--ca-secret", "picket-ca"]]
    others = {**NOTHING_LEFT, "ca": {"keep": False, "secret": "theirs"}}
    assert commands(rendered(others), "post-delete") == [["picket", "cluster", "clean"]]
    assert "theirs" not in str(rendered(others).hooks)


@pytest.mark.parametrize("event", ["pre-delete", "post-delete"])
def test_hooks_leave_nothing_and_are_no_part_of_the_release(event: str) -> None:
    """Gone once they succeeded, also what they ran by; and no Service finds their pods."""
    release = rendered(NOTHING_LEFT)
    for item in at(release, event):
        policy = item["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert set(policy.split(",")) == {"before-hook-creation", "hook-succeeded"}
        if item["kind"] == "Job":
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert not any(service["spec"]["selector"].items() <= labels.items() for service in release.of("Service"))


@pytest.mark.parametrize("values", [{"uninstall": {"hooks": False}}, {"rbac": {"create": False}}], ids=["unwanted", "no rights"])
def test_whoever_has_no_hooks_is_told_what_to_do(values: Json) -> None:
    """Also to remove the webhook before the release. Jobs without rights would keep a release from being removed."""
    release = rendered(values)
    assert not [item for item in release.hooks if item["kind"] != "Pod"]
    first, _, last = release.notes.partition(f"kubectl delete mutatingwebhookconfiguration {NAMESPACE}-picket")
    assert "helm uninstall -n" not in first
    assert f"helm uninstall -n {NAMESPACE} picket" in last
    assert "mutatingwebhookconfiguration" not in rendered().notes


@pytest.mark.parametrize("values", [{}, NOTHING_LEFT], ids=["default", "nothing-left"])
@pytest.mark.parametrize("event", ["pre-delete", "post-delete"])
def test_each_job_may_do_what_it_does(api: KubernetesApi, event: str, values: Json) -> None:
    """Its own command, run: every call is allowed."""
    release = rendered(values)
    ((_, *command),) = commands(release, event)
    assert run(command) == 0
    everywhere, here = rules(release, event, "ClusterRole"), rules(release, event, "Role")
    for asked in calls(api):
        given = [*everywhere, *(here if asked[-1] == NAMESPACE else [])]
        assert any(allows(rule, asked) for rule in given), asked


def test_no_right_of_the_jobs_is_unused(api: KubernetesApi) -> None:
    """Of both together: they have one account."""
    release = rendered(NOTHING_LEFT)
    for event in ("pre-delete", "post-delete"):
        for _, *command in commands(release, event):
            assert run(command) == 0
    made = calls(api)
    for rule in (*rules(release, "post-delete", "ClusterRole"), *rules(release, "post-delete", "Role")):
        for verb in rule["verbs"]:
            assert any(allows({**rule, "verbs": [verb]}, asked) for asked in made), (verb, rule)


def calls(api: KubernetesApi) -> set[Call]:
    """What was asked; a list of one name is authorized for that name."""
    found = set()
    for method, path in api.requests:
        verb, group, resource, name, namespace = call(method, path)
        found.add((verb, group, resource, name or path.partition("metadata.name%3D")[2].partition("&")[0], namespace))
    return found
