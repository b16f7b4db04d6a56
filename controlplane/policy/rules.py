"""Rules, one service's policy and the policy of the whole mesh, as frozen values. Never decides anything."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from controlplane.identity.spiffe import WorkloadId
from controlplane.topology.model import ServiceName

#: Hosts that no topology declares live here; what a source may do with them follows the source's own mode.
EXTERNAL_NAMESPACE = "external"

_PARAMETER = re.compile(r"\{[A-Za-z0-9_]{0,64}\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_PATH = re.compile(r"/[!\"$->@-~]{0,1023}\Z")
#: Never satisfies a pattern, only a rule without a path or with exactly this one: an application may read such a path as
#: another one than the allow-list did. Encoded separators, dot segments (also with parameters, as ``..;x``), an authority.
#: For the whole path without its query; RE2 and Python alike.
AMBIGUOUS_PATH = r"(?i)(//[^?#]*|[^?#]*(%2f|%5c|\\)[^?#]*|[^?#]*/(\.|%2e){1,2}((;|%3b|/)[^?#]*)?)"


class Mode(enum.StrEnum):
    """What a sidecar does with a flow that no rule allows, per destination service."""

    LEARN = "learn"  # passes and is seen
    AUDIT = "audit"  # passes and is reported as would-deny
    ENFORCE = "enforce"  # is dropped and reported
    QUARANTINE = "quarantine"  # everything is dropped, in and out


@dataclass(frozen=True, slots=True, order=True)
class AddressSource:
    """Peers without identity, by network. Only plaintext connections match it.

    ``cidr`` is kept in its one spelling: an address alone is a network of one.
    """

    cidr: str

    def __post_init__(self) -> None:
        network = ipaddress.ip_network(self.cidr)
        if isinstance(network, ipaddress.IPv6Network) and (network.network_address.ipv4_mapped or "%" in self.cidr):
            raise ValueError(f"network {self.cidr!r}: write an IPv4 network as such, and no interface")
        object.__setattr__(self, "cidr", str(network))

    def __str__(self) -> str:
        return f"ip:{self.cidr}"


class _MethodAndPath(NamedTuple):
    method: str
    path: str


class HttpMatch(_MethodAndPath):
    """A method and a path; empty means any.

    A path is exact, or ends in ``*`` (prefix), or has ``{name}`` segments that each stand for one non-empty segment, or
    ``*`` that stands for anything within a segment. A tuple, because pushes compare thousands of them.
    """

    __slots__ = ()

    def __new__(cls, method: str = "", path: str = "") -> Self:
        """Check both.

        Raises:
            ValueError: not a method, not a path.
        """
        if method and not _TOKEN.match(method):
            raise ValueError(f"method {method[:80]!r} is not an HTTP method")
        if path and not _PATH.match(path):
            raise ValueError(
                f"path {path[:80]!r}: a path starts with '/', has no query, no spaces and only ASCII, and at most 1024 characters"
            )
        return super().__new__(cls, method, path)

    @property
    def is_prefix(self) -> bool:
        """Whether the path ends in ``*``."""
        return self.path.endswith("*")

    @property
    def is_template(self) -> bool:
        """Whether the path has ``{name}`` parts or a ``*`` inside, so that it takes an expression to match."""
        body = self.path[:-1] if self.is_prefix else self.path
        return "*" in body or _PARAMETER.search(body) is not None

    def path_expression(self) -> str:
        """The path as a regular expression for the whole path without its query (RE2 and Python alike)."""
        body = self.path[:-1] if self.is_prefix else self.path
        parts: list[str] = []
        position = 0
        for parameter in _PARAMETER.finditer(body):
            parts.append(_escape(body[position : parameter.start()]))
            parts.append("[^/?#]+")
            position = parameter.end()
        parts.append(_escape(body[position:]))
        return "".join(parts) + ("[^?#]*" if self.is_prefix else "")


def _escape(text: str) -> str:
    return "[^/?#]*".join(re.escape(part) for part in text.split("*"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Lets one source call one port; ``http`` empty means whatever it sends there."""

    source: WorkloadId | AddressSource
    port: int
    http: tuple[HttpMatch, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port {self.port} is not one of 1 to 65535")


def rule_order(rule: Rule) -> tuple[str, int, tuple[HttpMatch, ...]]:
    """The order in which rules are written, whatever the kinds of their sources."""
    return str(rule.source), rule.port, tuple(sorted(rule.http))


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """One service's allow-list. ``revision`` is the revision in which it last changed; deny IDs carry it.

    ``revoked`` holds, per port, the revision in which a peer was last taken off: open connections older than that are closed.
    ``egress_revoked`` holds the same of what this service may call: per port of a destination, when it last lost something there.
    """

    service: ServiceName
    rules: tuple[Rule, ...] = ()
    revision: int = 0
    egress_revision: int = 0
    revoked: Mapping[int, int] = field(default_factory=dict)
    egress_revoked: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """The approved allow-list of the whole mesh, and each service's mode."""

    revision: int = 0
    services: Mapping[ServiceName, ServicePolicy] = field(default_factory=dict)
    modes: Mapping[ServiceName, Mode] = field(default_factory=dict)
    default_mode: Mode = Mode.LEARN

    def __post_init__(self) -> None:
        if self.default_mode is Mode.QUARANTINE:
            raise ValueError("quarantine is set for a service by name; it cannot be the default")

    def mode(self, service: ServiceName) -> Mode:
        """The mode of a destination service."""
        return self.modes.get(service, self.default_mode)

    def of(self, service: ServiceName) -> ServicePolicy:
        """A service's allow-list; empty when there is none."""
        return self.services.get(service) or ServicePolicy(service)

    def is_quarantined(self, workload: WorkloadId) -> bool:
        """Whether the service behind a workload may neither call nor be called."""
        return self.mode(ServiceName(workload.namespace, workload.account)) is Mode.QUARANTINE
