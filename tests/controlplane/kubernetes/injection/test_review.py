"""AdmissionReviews, good and bad: what is read is bounded, and what is answered is what an API server takes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.injection import review
from controlplane.kubernetes.injection.decide import Injected, Refused, Skipped, decide
from controlplane.kubernetes.injection.review import BadReview, PodCreation
from tests.controlplane.kubernetes.injection.reviews import DATA, RULES

GOOD: dict[str, Any] = json.loads((DATA / "deployment-http.json").read_bytes())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def with_value(path: tuple[str | int, ...], value: object) -> bytes:
    """The good review with one thing changed."""
    document = json.loads(json.dumps(GOOD))
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()


def test_a_pods_creation_is_read() -> None:
    """With its namespace and its uid."""
    found = review.read(json.dumps(GOOD).encode())
    assert isinstance(found, PodCreation)
    assert (found.namespace, found.uid) == ("shop", GOOD["request"]["uid"])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b" " * (review.MAX_REVIEW_BYTES + 1), "at most"),
        (b"{}", "not an AdmissionReview"),
        (with_value(("apiVersion",), "admission.k8s.io/v1beta1"), "not an AdmissionReview"),
        (with_value(("request", "operation"), "UPDATE"), "not an AdmissionReview"),
        (with_value(("request", "kind", "kind"), "Deployment"), "not an AdmissionReview"),
        (with_value(("request", "uid"), "u" * 254), "not an AdmissionReview"),
        (with_value(("request", "object", "spec", "containers"), []), "empty"),
        (with_value(("request", "object", "spec", "containers"), [{"image": "x"}]), "without a name"),
        (with_value(("request", "object", "spec", "volumes"), {"a": 1}), "is a list"),
        (with_value(("request", "object", "spec", "initContainers"), [{"name": "a"}] * 1001), "at most 1000"),
        (with_value(("request", "object", "metadata", "labels"), {"a": 1}), "object of texts"),
        (with_value(("request", "object", "metadata"), None), "are objects"),
    ],
)
def test_what_is_no_such_review_is_told_why(body: bytes, reason: str) -> None:
    """The API server then refuses the pod (failurePolicy: Fail)."""
    found = review.read(body)
    assert isinstance(found, BadReview)
    assert reason in found.reason


@given(st.binary(max_size=2000) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    """Whatever comes, the answer is a value."""
    assert isinstance(review.read(body), BadReview)


@given(
    st.sampled_from(
        [
            "livenessProbe",
            "readinessProbe",
            "ports",
            "securityContext",
            "env",
            "lifecycle",
            "resources",
            "restartPolicy",
            "volumeMounts",
        ]
    ),
    JSON,
)
def test_no_container_breaks_the_decision(key: str, value: object) -> None:
    """What is odd inside a container is the API server's to refuse, after the patch."""
    found = review.read(with_value(("request", "object", "spec", "containers", 0, key), value))
    assert isinstance(found, PodCreation)
    assert isinstance(decide(found, RULES), Injected | Refused)


@given(
    st.sampled_from(
        ["securityContext", "os", "hostNetwork", "terminationGracePeriodSeconds", "initContainers", "volumes", "imagePullSecrets"]
    ),
    JSON,
)
def test_no_pod_breaks_the_decision(key: str, value: object) -> None:
    """The same of the pod itself."""
    found = review.read(with_value(("request", "object", "spec", key), value))
    if isinstance(found, PodCreation):
        assert isinstance(decide(found, RULES), Injected | Refused | Skipped)


def test_the_answer_carries_the_patch_as_the_api_server_wants_it() -> None:
    """Base64 of JSON, with its type; warnings cut to what Kubernetes shows."""
    answer = json.loads(review.allow("u1", [{"op": "add", "path": "/a", "value": 1}], ["w" * 300] * 12))
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u1", True, "JSONPatch")
    assert json.loads(base64.b64decode(response["patch"])) == [{"op": "add", "path": "/a", "value": 1}]
    assert [len(warning) for warning in response["warnings"]] == [256] * 10


def test_an_answer_without_a_patch_has_no_patch_type() -> None:
    """The API server refuses one without the other."""
    assert json.loads(review.allow("u1"))["response"] == {"uid": "u1", "allowed": True}


def test_a_refusal_tells_the_person_why() -> None:
    """It is what kubectl prints."""
    response = json.loads(review.refuse("u1", "the reason"))["response"]
    status = {"code": 403, "reason": "Forbidden", "message": "picket: the reason"}
    assert response == {"uid": "u1", "allowed": False, "status": status}
