"""What differs between two graphs: two revisions, or yesterday's and today's learned edges. Pure; one pass over each.

A graph is a mapping from what makes an edge one edge to what is known of it; `policy.diff` writes rules' differences for people.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from controlplane.policy.rules import HttpMatch, Policy, ServicePolicy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Peer = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class GraphDiff(Generic[K, V]):
    """Edges that came, went, or are known otherwise now: before and after."""

    added: Mapping[K, V]
    removed: Mapping[K, V]
    changed: Mapping[K, tuple[V, V]]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed)


def diff_graphs(before: Mapping[K, V], after: Mapping[K, V], same: Callable[[V, V], bool] | None = None) -> GraphDiff[K, V]:
    """Every difference; ``same`` says which of two values that are not equal do not differ all the same."""
    missing = object()
    get = before.get
    differing = [(key, value) for key, value in after.items() if get(key, missing) != value]
    added: dict[K, V] = {}
    changed: dict[K, tuple[V, V]] = {}
    for key, value in differing:
        if key not in before:
            added[key] = value
        elif same is None or not same(before[key], value):
            changed[key] = (before[key], value)
    # Nothing went when all that was there is there still.
    gone = len(after) - len(added) < len(before)
    removed = {key: before[key] for key in set(before).difference(after)} if gone else {}
    return GraphDiff(added, removed, changed)


def rules_graph(policy: Policy) -> dict[Peer, tuple[HttpMatch, ...]]:
    """The approved graph: source, destination and port, with what is approved there; an empty tuple for everything."""
    found: dict[Peer, tuple[HttpMatch, ...]] = {}
    for name, listed in policy.services.items():
        destination = str(name)
        for rule in listed.rules:
            key = (str(rule.source), destination, rule.port)
            known = found.get(key)
            http = () if rule.http and HttpMatch() in rule.http else rule.http
            if known is None:
                found[key] = http
            else:
                found[key] = tuple(sorted({*known, *http})) if known and http else ()
    return found


def diff_policies(before: Policy, after: Policy) -> GraphDiff[Peer, tuple[HttpMatch, ...]]:
    """What two revisions allow otherwise. Most services have the same rules in both and cost one comparison."""
    names = {*before.services, *after.services}
    touched = {name for name in names if not _same_rules(before.services.get(name), after.services.get(name))}
    old, new = (
        rules_graph(Policy(policy.revision, {name: policy.services[name] for name in touched & policy.services.keys()}))
        for policy in (before, after)
    )
    return diff_graphs(old, new, lambda left, right: sorted(left) == sorted(right))


def _same_rules(before: ServicePolicy | None, after: ServicePolicy | None) -> bool:
    return before is after or (before is not None and after is not None and before.rules == after.rules)
