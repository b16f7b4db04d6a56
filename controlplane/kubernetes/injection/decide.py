"""Whether a pod gets a sidecar, and the patch that gives it one. Pure; the same review and rules give the same answer.

A second pass over what the first one made changes nothing, so that the webhook may be asked again when others change the pod.
What carries Picket's names in a pod is always Picket's own: whatever came under them is replaced, but for what the API server
itself fills in between both passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controlplane.kubernetes.injection import containers, exclusions, hooks, probes
from controlplane.kubernetes.injection.exclusions import BadExclusion, Exclusions
from controlplane.kubernetes.injection.ports import OWN_PORTS, PROXY_ID
from controlplane.kubernetes.injection.review import Json, PodCreation
from controlplane.kubernetes.injection.rules import DISABLED, INJECTION_LABEL, Rules

_OWN_CONTAINERS = frozenset({containers.INIT, containers.SIDECAR})
_OWN_VOLUMES = frozenset({containers.STATE_VOLUME, containers.IDENTITY_VOLUME})
_MIRROR = "kubernetes.io/config.mirror"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
#: With one of these, a container can take the redirect away again.
_UNDOING = frozenset({"ALL", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"})


@dataclass(frozen=True, slots=True)
class Injected:
    """The patch (RFC 6902); empty where the pod is as it should be. Warnings are for whoever made the pod."""

    patch: tuple[Json, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The pod goes without, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The pod cannot have a sidecar that holds, so it may not be; why, and what to do."""

    reason: str


def decide(creation: PodCreation, rules: Rules) -> Injected | Skipped | Refused:
    """What becomes of a pod."""
    metadata, spec = creation.pod["metadata"], creation.pod["spec"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if (reason := _why_not(creation.namespace, labels, annotations, spec, rules)) is not None:
        return Skipped(reason)
    if (reason := _why_refused(spec)) is not None:
        return Refused(reason)
    warnings = list(_warnings(spec, rules))
    excluded = Exclusions()
    if keys := exclusions.asked(annotations):
        if creation.namespace in rules.exclusions_allowed:
            read = exclusions.read(annotations)
            if isinstance(read, BadExclusion):
                return Refused(read.reason)
            excluded = read
        else:
            warnings.append(f"picket: {', '.join(keys)}: not heeded, no administrator allowed it in namespace {creation.namespace}")
    patch = _patch(creation, metadata, spec, excluded, rules)
    return patch if isinstance(patch, Refused) else Injected(patch, tuple(warnings))


def _why_not(namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str], spec: Json, rules: Rules) -> str | None:
    if namespace in rules.never:
        return f"nothing is injected in namespace {namespace}"
    if labels.get(INJECTION_LABEL) == DISABLED:
        return f"the pod has the label {INJECTION_LABEL}: {DISABLED}"
    if spec.get("hostNetwork") is True:
        return "the pod is in the node's network, whose traffic is not its own"
    if _MIRROR in annotations:
        return "the pod is kubelet's own (a static pod)"
    match spec.get("os"):
        case {"name": "windows"}:
            return "the pod runs on Windows"
        case _:
            return None


def _why_refused(spec: Json) -> str | None:
    if all(container["name"] in _OWN_CONTAINERS for container in spec["containers"]):
        return f"the pod has no container but {containers.SIDECAR}, a name that is Picket's own"
    for where, context in _users(spec):
        if context.get("runAsUser") == PROXY_ID:
            return f"{where}: runAsUser {PROXY_ID} is the sidecar's user, whose traffic passes unseen; choose another"
    for container in _application(spec):
        for port in _items(container.get("ports")):
            if port.get("containerPort") in OWN_PORTS:
                taken = f"container {container['name']}: port {port['containerPort']} is the sidecar's"
                return f"{taken}; choose another, or opt out with the label {INJECTION_LABEL}: {DISABLED}"
    return None


def _users(spec: Json) -> Iterator[tuple[str, Json]]:
    """Every security context of the pod, but for those of what Picket puts in."""
    named = [("the pod", spec), *((f"container {container['name']}", container) for container in _application(spec))]
    for where, holder in named:
        if isinstance(context := holder.get("securityContext"), dict):
            yield where, context


def _warnings(spec: Json, rules: Rules) -> Iterator[str]:
    for container in _application(spec):
        yield from hooks.warnings(container, native=rules.native)
        context = container.get("securityContext")
        match context:
            case {"privileged": True}:
                yield f"picket: container {container['name']} is privileged, and so can take its redirect away"
            case {"capabilities": {"add": list(added)}} if found := sorted(_UNDOING.intersection(map(_capability, added))):
                yield f"picket: container {container['name']} has {found[0]}, and so can take its redirect away"
            case _:
                pass


def _capability(name: object) -> str:
    return str(name).removeprefix("CAP_")


def _application(spec: Json) -> Iterator[Json]:
    for key in ("initContainers", "containers"):
        yield from (container for container in spec.get(key) or () if container["name"] not in _OWN_CONTAINERS)


def _patch(creation: PodCreation, metadata: Json, spec: Json, excluded: Exclusions, rules: Rules) -> tuple[Json, ...] | Refused:
    """The changes, by whole fields: ``add`` of a member that is there replaces it (RFC 6902, 4.1)."""
    init = [container for container in spec.get("initContainers") or () if container["name"] not in _OWN_CONTAINERS]
    application = [container for container in spec["containers"] if container["name"] not in _OWN_CONTAINERS]
    before = probes.read_record(_recorded(spec))
    record: dict[str, Json] = {}
    init, application = (_led(listed, before, creation.uid, record) for listed in (init, application))
    written = probes.write_record(record) if record else ""
    if len(record) > probes.MAX_PROBES or len(written.encode()) > probes.MAX_RECORD_BYTES:
        return Refused(
            f"more than {probes.MAX_PROBES} probes and hooks, or {probes.MAX_RECORD_BYTES} bytes of them; use exec for some"
        )
    grace = spec.get("terminationGracePeriodSeconds")
    grace_seconds = grace if isinstance(grace, int) and grace >= 0 else containers.DEFAULT_GRACE_SECONDS
    workload, digest = f"{creation.namespace}/{spec.get('serviceAccountName') or 'default'}", containers.digest_of(application)
    made = _defaulted(containers.sidecar(rules, workload, written, digest, grace_seconds), spec)
    step = _defaulted(containers.init_container(rules, excluded), spec)
    kept_volumes = (volume for volume in spec.get("volumes") or () if volume["name"] not in _OWN_VOLUMES)
    wanted: Json = {
        # A native sidecar comes before the application's own first steps, which may want the network already. An older one begins
        # after them, and they would have no network behind the redirect: so there the redirect comes last.
        "initContainers": [step, made, *init] if rules.native else [*init, step],
        "containers": application if rules.native else [made, *application],
        "volumes": [*kept_volumes, *containers.volumes(rules)],
    }
    if rules.pull_secrets:
        there = spec.get("imagePullSecrets") or []
        names = {secret["name"] for secret in there}
        wanted["imagePullSecrets"] = [*there, *({"name": name} for name in rules.pull_secrets if name not in names)]
    annotations = metadata.get("annotations") or {}
    changes: list[Json] = []
    if not rules.native and _DEFAULT_CONTAINER not in annotations:
        # `kubectl logs` is about the application, not about the first container.
        marked = {**annotations, _DEFAULT_CONTAINER: application[0]["name"]}
        changes.append({"op": "add", "path": "/metadata/annotations", "value": marked})
    changes += ({"op": "add", "path": f"/spec/{key}", "value": value} for key, value in wanted.items() if spec.get(key) != value)
    return tuple(changes)


def _led(application: Iterable[Json], before: Mapping[str, Json], uid: str, record: dict[str, Json]) -> list[Json]:
    """Containers with what kubelet asks of them led to the agent; what the agent then has to ask goes into ``record``."""
    probed, asked = probes.rewritten(application, before)
    hooked, called = hooks.rewritten(probed, before, uid)
    record |= asked | called
    return hooked


def _defaulted(own: Json, spec: Json) -> Json:
    """A container of ours with what admission plugins gave it meanwhile: resources that we name none of, and to pull always.

    Without them a namespace's quota, or AlwaysPullImages, would refuse the pod in the end.
    """
    there = _there(spec, own["name"])
    given = there.get("resources")
    resources: Json = dict(own["resources"])
    for key, values in given.items() if isinstance(given, dict) else ():
        if key in {"limits", "requests"} and isinstance(values, dict):
            resources[key] = {**values, **resources.get(key, {})}
    policy = "Always" if there.get("imagePullPolicy") == "Always" else own["imagePullPolicy"]
    return {**own, "resources": resources, "imagePullPolicy": policy}


def _recorded(spec: Json) -> object:
    """What an earlier pass wrote down of the application's probes and hooks."""
    for variable in _items(_there(spec, containers.SIDECAR).get("env")):
        if variable.get("name") == probes.VARIABLE:
            return variable.get("value")
    return None


def _there(spec: Json, name: str) -> Json:
    """A container as it came; empty where there is none of the name."""
    found = (*(spec.get("initContainers") or ()), *spec["containers"])
    return next((container for container in found if container["name"] == name), {})


def _items(value: object) -> Iterable[Json]:
    """The objects of a list; what is none, the API server refuses after the patch."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
