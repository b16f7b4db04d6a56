"""AdmissionReview v1: what the API server asks and what it is answered. Bounded; decides nothing.

Source: https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

#: An object has at most 1.5 MiB in etcd; the review holds it once for a creation, with some room for what is around it.
MAX_REVIEW_BYTES = 4 * 1024 * 1024
API_VERSION = "admission.k8s.io/v1"
MAX_CONTAINERS = 1_000
_MAX_TEXT = 253
#: Kubernetes cuts warnings that are longer, and drops those beyond 4 KiB in all.
_MAX_WARNING = 256
_MAX_WARNINGS = 10

#: A JSON object as it came. Fields that are not known here stay as they are.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodCreation:
    """A pod that is about to be. ``uid`` is the review's, random, by which the answer is matched; nobody else is told it."""

    uid: str
    namespace: str
    pod: Json


@dataclass(frozen=True, slots=True)
class BadReview:
    """A request that is no review of a pod's creation, and why."""

    reason: str


def read(body: bytes) -> PodCreation | BadReview:
    """The question in a request's body."""
    if len(body) > MAX_REVIEW_BYTES:
        return BadReview(f"{len(body)} bytes; at most {MAX_REVIEW_BYTES} are read")
    try:
        review = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadReview(f"not JSON: {error}")
    match review:
        case {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": str(uid), "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "namespace": str(namespace), "object": dict(pod),
            },
        } if 0 < len(uid) <= _MAX_TEXT and 0 < len(namespace) <= _MAX_TEXT:  # fmt: skip
            reason = _odd(pod)
            return BadReview(f"request.object: {reason}") if reason else PodCreation(uid, namespace, pod)
        case _:
            return BadReview(f"not an AdmissionReview of {API_VERSION} with the creation of a v1 Pod")


def _odd(pod: Json) -> str:
    """What is not as Kubernetes says it is, of what is read here; the API server checks all else after the patch."""
    metadata, spec = pod.get("metadata"), pod.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        return "metadata and spec are objects"
    for key in ("labels", "annotations"):
        found = metadata.get(key) or {}
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            return f"metadata.{key} is an object of texts"
    for key in ("containers", "initContainers", "volumes", "imagePullSecrets"):
        found = spec.get(key) or []
        if not isinstance(found, list) or len(found) > MAX_CONTAINERS:
            return f"spec.{key} is a list of at most {MAX_CONTAINERS}"
        if not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in found):
            return f"spec.{key} has an item without a name"
    if not spec.get("containers"):
        return "spec.containers is empty"
    return ""


def allow(uid: str, patch: Sequence[Json] = (), warnings: Sequence[str] = ()) -> bytes:
    """The answer that lets the pod be, changed by a patch (RFC 6902)."""
    response: Json = {"uid": uid, "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(patch)).decode()}
    if warnings:
        response["warnings"] = [warning[:_MAX_WARNING] for warning in warnings[:_MAX_WARNINGS]]
    return _answer(response)


def refuse(uid: str, reason: str) -> bytes:
    """The answer that does not; whoever made the pod reads the reason."""
    return _answer({"uid": uid, "allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": f"picket: {reason}"}})


def _answer(response: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
