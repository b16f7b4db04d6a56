"""Who is let in: the ECDS allow-lists and SDS handshake lists that the listeners of a service ask for. Never builds a listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import Mode, ServicePolicy
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import names, tls
from controlplane.xds.allowlist import AllowListBuilder, Filter
from controlplane.xds.inbound import Shape, filters_of
from controlplane.xds.lists import EMPTY, AllowList
from controlplane.xds.snapshot import Resource


def allow_lists(
    shape: Shape,
    policy: ServicePolicy,
    lists: Mapping[int, AllowList],
    mode: Mode,
    blocked: tuple[WorkloadId, ...],
    builder: AllowListBuilder,
) -> Iterator[Resource]:
    """The filters by ECDS."""
    for port in shape.ports:
        number = port.port.number
        allow_list = lists.get(number, EMPTY)
        for http, plaintext in filters_of(shape, port):
            name = names.allow_list(number, http=http, plaintext=plaintext)
            listed = _filter(allow_list if http else allow_list.opaque(), policy, mode, blocked)
            yield builder.build(name, listed, http=http, plaintext=plaintext)


def _filter(allow_list: AllowList, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...]) -> Filter:
    quarantined = str(DenyId(policy.service, policy.revision, Reason.QUARANTINE))
    if mode is Mode.QUARANTINE:
        return Filter(EMPTY, quarantined)
    return Filter(
        allow_list=allow_list,
        deny_id="" if mode is Mode.LEARN else str(DenyId(policy.service, policy.revision)),
        shadow=mode is Mode.AUDIT,
        blocked=blocked,
        blocked_id=quarantined if blocked else "",
    )


def handshake_lists(
    shape: Shape,
    lists: Mapping[int, AllowList],
    mode: Mode,
    blocked: tuple[WorkloadId, ...],
    builder: tls.PeersSecretBuilder,
) -> Iterator[Resource]:
    """The validation contexts of ports that are not only HTTP: the approved peers once enforced, else all but the quarantined."""
    for port in shape.ports:
        if handling(port.port.protocol) is Handling.HTTP:
            continue
        name = names.peers(port.port.number)
        if mode is Mode.QUARANTINE:
            yield builder.build(name, ())
        elif mode is Mode.ENFORCE:
            listed = lists.get(port.port.number, EMPTY).opaque().peers
            yield builder.build(name, [peer for peer in listed if peer not in blocked] if blocked else listed.keys())
        else:
            yield builder.open(name, blocked)
