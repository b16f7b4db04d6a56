"""Whom a change concerns: everybody whose snapshot may differ by it, and few others. Compiles nothing.

What a source is told of, `xds.reach` says; here the same is asked from the other end: who is told of a service.
"""

from __future__ import annotations

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import follows_source
from controlplane.policy.revise import changed_services
from controlplane.policy.rules import EXTERNAL_NAMESPACE, AddressSource, Mode, Policy
from controlplane.topology.model import ServiceName, Topology
from controlplane.xds.upstream import silent_ports


def concerned_by(before: Policy, after: Policy) -> set[WorkloadId]:
    """The workloads at the ends of what differs between two policies; there need not be any of them."""
    found: set[WorkloadId] = set()
    for name in changed_services(before, after):
        if name.namespace != EXTERNAL_NAMESPACE:
            found.add(WorkloadId(name.namespace, name.name))
        for rule in {*before.of(name).rules} ^ {*after.of(name).rules}:
            if not isinstance(rule.source, AddressSource):
                found.add(rule.source)
    return found


def told_of(before: Topology, after: Topology, policies: tuple[Policy, ...]) -> set[WorkloadId] | None:
    """The workloads that are told of what differs between two topologies, under any of some policies; ``None`` means everybody.

    The policies have the same modes. A service that somebody may reach without a rule is told to everybody. Of one that
    enforces, its own sidecars, those of approved callers, and those that answer for it when it is dialled without approval hear;
    where only replicas come and go, approved callers alone.
    """
    common = before.services.keys() & after.services.keys()
    if [name for name in before.services if name in common] != [name for name in after.services if name in common]:
        return None  # the order shows in listeners
    if silent_ports(before.services.values()) != silent_ports(after.services.values()):
        return None
    names = {*before.services, *after.services}
    changed = {name for name in names if before.services.get(name) != after.services.get(name)}
    modes = policies[0]
    if any(modes.mode(name) is not Mode.ENFORCE or follows_source(modes, name) for name in changed):
        return None
    found = {workload for name in changed if (workload := name.workload) is not None}
    for name in changed:
        found |= {rule.source for policy in policies for rule in policy.of(name).rules if isinstance(rule.source, WorkloadId)}
    faces = {name for name in changed if _face(before, name) != _face(after, name)}
    return found | _answering(after, faces, modes) if faces else found


def _face(topology: Topology, name: ServiceName) -> object:
    service = topology.services.get(name)
    return None if service is None else service.face


def _answering(topology: Topology, names: set[ServiceName], policy: Policy) -> set[WorkloadId]:
    """Those whose sidecars answer for some services whether they may reach them or not."""
    return {
        workload
        for workload, service in topology.by_workload.items()
        if (policy.mode(service.name) in {Mode.LEARN, Mode.AUDIT} and service.capture == "redirect")
        or any(listener.service in names for listener in service.upstream_listeners)
    }
