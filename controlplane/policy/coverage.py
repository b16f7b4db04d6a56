"""Whether one rule lets everything pass that another does. Sound, not complete: "yes" is certain, "no" may be a pattern too hard.

Pure; `evaluate` is what a rule means, a property test holds this to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import http_matches
from controlplane.policy.rules import AddressSource, HttpMatch, Rule

_PARAMETER = re.compile(r"\{[A-Za-z0-9_]{0,64}\}")
_WILD = re.compile(r"[*{]")


def source_covers(outer: WorkloadId | AddressSource, inner: WorkloadId | AddressSource) -> bool:
    """Whether every peer of ``inner`` is one of ``outer``."""
    if outer == inner:
        return True
    if not isinstance(outer, AddressSource) or not isinstance(inner, AddressSource):
        return False
    around, within = ipaddress.ip_network(outer.cidr), ipaddress.ip_network(inner.cidr)
    return around.version == within.version and within[0] in around and within[-1] in around


def match_covers(outer: HttpMatch, inner: HttpMatch) -> bool:
    """Whether every request that fits ``inner`` fits ``outer``."""
    if outer.method and outer.method != inner.method:
        return False
    if not outer.path or outer.path == inner.path:
        return True
    if not inner.path:
        return False
    if not inner.is_prefix and not inner.is_template:
        return http_matches(HttpMatch("", outer.path), "", inner.path)
    return _path_covers(_PARAMETER.sub("{}", outer.path), _PARAMETER.sub("{}", inner.path))


def _path_covers(outer: str, inner: str) -> bool:
    """For two patterns, their parameters without names."""
    if outer == inner:
        return True
    open_ended = outer.endswith("*")
    mine, theirs = outer.split("/"), inner.split("/")
    if open_ended:
        *whole, last = mine
        last = last[:-1]
        if _WILD.search(last) or len(theirs) <= len(whole):
            return False
        rest = "/".join(theirs[len(whole) :])
        literal = rest[: found.start()] if (found := _WILD.search(rest)) else rest
        return literal.startswith(last) and all(map(_segment_covers, whole, theirs))
    # Only a pattern that is open at its end itself says more segments than it shows.
    return not inner.endswith("*") and len(mine) == len(theirs) and all(map(_segment_covers, mine, theirs))


def _segment_covers(outer: str, inner: str) -> bool:
    if outer in {inner, "*"}:
        return True
    return outer == "{}" and bool(inner) and "*" not in inner


def rule_covers(outer: Iterable[Rule], inner: Rule) -> bool:
    """Whether some of the rules together let everything pass that ``inner`` does."""
    near = [rule for rule in outer if rule.port == inner.port and source_covers(rule.source, inner.source)]
    if any(not rule.http for rule in near):
        return True
    matches = [match for rule in near for match in rule.http]
    return all(any(match_covers(match, wanted) for match in matches) for wanted in inner.http or (HttpMatch(),))
