"""The one meaning of a policy: what becomes of a request. Compiled Envoy configuration is held to this by a property test.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AMBIGUOUS_PATH, EXTERNAL_NAMESPACE, AddressSource, HttpMatch, Mode, Policy, Rule
from controlplane.topology.model import ServiceName, canonical_address


class Reason(enum.StrEnum):
    """Why a request is not allowed."""

    NOT_LISTED = "not-listed"  # no rule of the destination holds it
    QUARANTINE = "quarantine"  # destination or source is quarantined
    EGRESS = "egress"  # not an approved upstream of the source


@dataclass(frozen=True, slots=True)
class DenyId:
    """The name under which Envoy reports a denial, e.g. ``deny:shop/cart@r7``."""

    service: ServiceName
    revision: int
    reason: Reason = Reason.NOT_LISTED

    def __str__(self) -> str:
        suffix = "" if self.reason is Reason.NOT_LISTED else f"/{self.reason}"
        return f"deny:{self.service}@r{self.revision}{suffix}"


_DENY_ID = re.compile(r"deny:([^/\s]{1,63})/([^@\s/]{1,63})@r(0|[1-9][0-9]{0,11})(?:/(quarantine|egress))?\Z")


def parse_deny_id(text: str) -> DenyId | None:
    """Read a deny ID; ``None`` for any other text."""
    found = _DENY_ID.match(text)
    if found is None:
        return None
    reason = Reason(found[4]) if found[4] else Reason.NOT_LISTED
    return DenyId(ServiceName(found[1], found[2]), int(found[3]), reason)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request or one TCP connection, as it reaches the destination.

    ``source`` is what TLS proved, ``None`` for plaintext. ``method`` is empty for TCP. ``path`` is without its query and as
    the destination's sidecar wrote it before it decided: without dot segments, unreserved characters unescaped, others escaped.
    """

    destination: ServiceName
    port: int
    source: WorkloadId | None = None
    source_address: str = ""
    method: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The request passes; ``rule`` is what let it, ``None`` when the mode did."""

    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class WouldDeny:
    """The request passes and is reported."""

    deny_id: DenyId


@dataclass(frozen=True, slots=True)
class Denied:
    """The request is dropped and reported."""

    deny_id: DenyId


Outcome = Allowed | WouldDeny | Denied


def evaluate(policy: Policy, request: Request) -> Outcome:
    """What becomes of a request at its destination."""
    allow_list = policy.of(request.destination)
    mode = policy.mode(request.destination)
    if mode is Mode.QUARANTINE or (request.source is not None and policy.is_quarantined(request.source)):
        return Denied(DenyId(request.destination, allow_list.revision, Reason.QUARANTINE))
    rule = next((rule for rule in allow_list.rules if rule_matches(rule, request)), None)
    if rule is not None:
        return Allowed(rule)
    if mode is Mode.LEARN:
        return Allowed()
    deny_id = DenyId(request.destination, allow_list.revision)
    return Denied(deny_id) if mode is Mode.ENFORCE else WouldDeny(deny_id)


def evaluate_egress(policy: Policy, request: Request, *, sees_requests: bool) -> Outcome:
    """What becomes of a request of a workload at its own sidecar.

    Where one stands at the destination, too, this one decides on ports alone and leaves reports to that one; otherwise it
    ``sees_requests`` and decides as it would. A peer without identity has no sidecar that would stop it.
    """
    source = request.source
    if source is None:
        return Allowed()
    own, mode = ServiceName(source.namespace, source.account), egress_mode(policy, source, request.destination)
    quarantined = policy.is_quarantined(source)
    deny_id = DenyId(own, policy.of(own).egress_revision, Reason.QUARANTINE if quarantined else Reason.EGRESS)
    if quarantined or mode is Mode.QUARANTINE:
        return Denied(deny_id)
    listed = (rule for rule in policy.of(request.destination).rules if (rule.source, rule.port) == (source, request.port))
    rule = next((rule for rule in listed if not sees_requests or rule_matches(rule, request)), None)
    if rule is not None:
        return Allowed(rule)
    if mode is Mode.ENFORCE:
        return Denied(deny_id)
    return WouldDeny(deny_id) if sees_requests and mode is Mode.AUDIT else Allowed()


def may_reach(
    policy: Policy, source: WorkloadId, destination: ServiceName, approved: frozenset[int] | None = None
) -> frozenset[int] | None:
    """The ports of a destination that a source's own sidecar lets out; ``None`` means every port.

    ``approved`` is what `approved_ports` says, from a caller that has it already.
    """
    mode = egress_mode(policy, source, destination)
    if policy.is_quarantined(source) or mode is Mode.QUARANTINE:
        return frozenset()
    if mode is not Mode.ENFORCE:
        return None
    return approved_ports(policy, source, destination) if approved is None else approved


def egress_mode(policy: Policy, source: WorkloadId, destination: ServiceName) -> Mode:
    """The mode that decides at the source: the destination's, or the source's own for a host that nobody declared."""
    if follows_source(policy, destination):
        return policy.mode(ServiceName(source.namespace, source.account))
    return policy.mode(destination)


def follows_source(policy: Policy, destination: ServiceName) -> bool:
    """Whether a destination has no mode of its own: a host outside that nobody gave one."""
    return destination.namespace == EXTERNAL_NAMESPACE and destination not in policy.modes


def approved_ports(policy: Policy, source: WorkloadId, destination: ServiceName) -> frozenset[int]:
    """The ports of a destination that some rule lets a source call."""
    return frozenset(rule.port for rule in policy.of(destination).rules if rule.source == source)


def rule_matches(rule: Rule, request: Request) -> bool:
    """Whether a rule holds a request."""
    if rule.port != request.port:
        return False
    if isinstance(rule.source, AddressSource):
        address = canonical_address(request.source_address)
        if request.source is not None or address is None:
            return False
        if ipaddress.ip_address(address) not in ipaddress.ip_network(rule.source.cidr):
            return False
    elif rule.source != request.source:
        return False
    return not rule.http or any(http_matches(match, request.method, request.path) for match in rule.http)


def http_matches(match: HttpMatch, method: str, path: str) -> bool:
    """Whether a method and a path (without its query) fit. A path that could be read as another one fits no pattern."""
    if match.method and match.method != method:
        return False
    if not match.path:
        return True
    if match.is_template or match.is_prefix:
        return re.fullmatch(match.path_expression(), path) is not None and re.fullmatch(AMBIGUOUS_PATH, path) is None
    return match.path == path
