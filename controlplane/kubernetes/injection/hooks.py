"""A container's HTTP hooks (postStart, preStop) under default-deny: they go to the agent, which calls from within the pod. Pure.

A probe looks, a hook does something: whoever could call it through the agent could end what the pod does. So the agent's path
for one ends in a word that is made from the review's own, random uid, and nobody has who may not read the pod. Hooks by exec or
sleep need no network and stay; one of another host is dialled by kubelet itself.
Fields: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#LifecycleHandler
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from controlplane.kubernetes.injection.ports import PROBE_PORT
from controlplane.kubernetes.injection.probes import MAX_TIMEOUT_SECONDS, kept
from controlplane.kubernetes.injection.review import Json

PREFIX = "/app-lifecycle"
POST_START = "postStart"
KINDS: Mapping[str, str] = {POST_START: "poststart", "preStop": "prestop"}
_WORD = re.compile(r"[0-9a-f]{32}\Z")


def rewritten(containers: Iterable[Json], before: Mapping[str, Json], uid: str) -> tuple[list[Json], dict[str, Json]]:
    """The containers with their HTTP hooks led to the agent, and what the agent has to ask in their place.

    ``before`` is what an earlier pass recorded: hooks that already lead to the agent keep their entry in it. ``uid`` is the
    review's.
    """
    changed: list[Json] = []
    record: dict[str, Json] = {}
    for container in containers:
        new = dict(container)
        for key, stem, hook in _hooks(container):
            own = _path_to_agent(hook, stem)
            path = own or stem + hashlib.sha256(f"{uid}{stem}".encode()).hexdigest()[:32]
            entry = before.get(path) if own else _asked(hook, container)
            if entry is None:
                continue
            record[path] = entry
            if not own:
                led = {**hook, "httpGet": {"path": path, "port": PROBE_PORT, "scheme": "HTTP"}}
                new["lifecycle"] = {**new["lifecycle"], key: led}
        changed.append(new)
    return changed, record


def warnings(container: Json, *, native: bool) -> Iterator[str]:
    """What is said to whoever makes a pod with hooks that will not, or may not, work."""
    for key, stem, hook in _hooks(container):
        if _path_to_agent(hook, stem):
            continue
        where = f"picket: container {container['name']}: {key}"
        if not hook["httpGet"].get("host") and _asked(hook, container) is None:
            yield f"{where}: an HTTP hook with this port, path or headers will be refused where enforced; make it an exec hook"
        elif key == POST_START and not native:
            yield f"{where}: an HTTP hook may come before the sidecar is there; make it an exec hook"


def _hooks(container: Json) -> Iterator[tuple[str, str, Json]]:
    """Each HTTP hook of a container: its key, what the agent's path for it begins with, and itself."""
    lifecycle = container.get("lifecycle")
    if not isinstance(lifecycle, dict):
        return
    for key, kind in KINDS.items():
        hook = lifecycle.get(key)
        if isinstance(hook, dict) and isinstance(hook.get("httpGet"), dict):
            yield key, f"{PREFIX}/{container['name']}/{kind}/", hook


def _path_to_agent(hook: Json, stem: str) -> str:
    """The path of a hook that an earlier pass led to the agent; empty for others."""
    handler = hook["httpGet"]
    path = handler.get("path")
    led = handler.get("port") == PROBE_PORT and isinstance(path, str) and path.startswith(stem)
    return path if led and _WORD.match(path, len(stem)) else ""


def _asked(hook: Json, container: Json) -> Json | None:
    """Kubelet waits for a hook as long as the pod may take."""
    return kept({"httpGet": hook["httpGet"], "timeoutSeconds": MAX_TIMEOUT_SECONDS}, container.get("ports"))
