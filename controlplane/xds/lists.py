"""A service's rules as one allow-list per port. Never builds a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TypeVar

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Rule

_ANYTHING = HttpMatch()
_Source = TypeVar("_Source", WorkloadId, AddressSource)


@dataclass(frozen=True, slots=True)
class AllowList:
    """Who may call one port, and with which methods and paths; without any it may send whatever it likes."""

    peers: Mapping[WorkloadId, tuple[HttpMatch, ...]] = field(default_factory=dict)
    networks: Mapping[AddressSource, tuple[HttpMatch, ...]] = field(default_factory=dict)

    def opaque(self) -> AllowList:
        """What is left of it where methods and paths cannot be seen: a rule that asks for one holds nothing."""
        return AllowList(
            {peer: matches for peer, matches in self.peers.items() if not matches},
            {network: matches for network, matches in self.networks.items() if not matches},
        )


EMPTY = AllowList()


def lists_of(rules: Iterable[Rule]) -> dict[int, AllowList]:
    """The allow-list of each port that rules name, merged per source."""
    peers: dict[int, dict[WorkloadId, tuple[HttpMatch, ...]]] = {}
    networks: dict[int, dict[AddressSource, tuple[HttpMatch, ...]]] = {}
    for rule in rules:
        source, matches = rule.source, rule.http
        if matches and _ANYTHING in matches:
            matches = ()
        if isinstance(source, WorkloadId):
            _merge(peers.setdefault(rule.port, {}), source, matches)
        else:
            _merge(networks.setdefault(rule.port, {}), source, matches)
    return {port: AllowList(peers.get(port, {}), networks.get(port, {})) for port in {*peers, *networks}}


def _merge(listed: MutableMapping[_Source, tuple[HttpMatch, ...]], source: _Source, matches: tuple[HttpMatch, ...]) -> None:
    """Add what a source may do to what it may do already."""
    before: tuple[HttpMatch, ...] = listed.setdefault(source, matches)
    if before is not matches and before:
        listed[source] = tuple(sorted({*before, *matches})) if matches else ()
