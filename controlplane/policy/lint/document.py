"""What is doubtful in one document by itself: wide, repeated, impossible, unowned or expired. Knows no topology."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable, Iterator

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.coverage import match_covers, rule_covers
from controlplane.policy.findings import Finding
from controlplane.policy.lint import catalogue
from controlplane.policy.rules import AMBIGUOUS_PATH, AddressSource, HttpMatch, Mode, Rule
from controlplane.policy.traffic_policy import Peer, TrafficPolicy, TrafficRule
from controlplane.policy.traffic_shape import write_time

#: Networks with a shorter prefix stand for almost anybody.
NARROW_PREFIX = {4: 8, 6: 32}
#: A lease that ends within this time is told of.
SOON = datetime.timedelta(days=14)
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
#: Escapes of characters that need none: requests are decided on without them.
_NEEDLESS_ESCAPE = re.compile(r"%(?:2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9Aa]|5[Ff]|6[1-9A-Fa-f]|7[0-9Aa]|7[Ee])")


def check_document(document: TrafficPolicy, now: datetime.datetime) -> Iterator[Finding]:
    """All findings about one document; ``now`` with its time zone."""
    if document.mode is Mode.QUARANTINE and document.rules:
        message = f"{document.service} is in quarantine: its rules have no effect"
        yield catalogue.QUARANTINED.found(document.place, message, key="spec.mode")
    if document.mode is Mode.ENFORCE and not document.rules:
        message = f"{document.service} enforces without a rule: every call is dropped"
        yield catalogue.CLOSED.found(document.place, message, key="spec.rules")
    for index, rule in enumerate(document.rules):
        key = f"spec.rules[{index}]"
        yield from _peers(rule, key)
        yield from _requests(rule, key)
        yield from _lease(rule, key, now)
    yield from _shadowed(document)


def _peers(rule: TrafficRule, key: str) -> Iterator[Finding]:
    for index, peer in enumerate(rule.peers):
        if isinstance(peer.source, AddressSource):
            network = ipaddress.ip_network(peer.source.cidr)
            if network.prefixlen < NARROW_PREFIX[network.version]:
                message = f"{network} stands for {'everybody' if network.prefixlen == 0 else 'almost anybody'} without identity"
                remedy = "name the networks that need it, or the workloads"
                yield catalogue.WIDE_NETWORK.found(peer.place, message, key=f"{key}.from[{index}].cidr", remedy=remedy)


def _requests(rule: TrafficRule, key: str) -> Iterator[Finding]:
    for index, request in enumerate(rule.http):
        here = f"{key}.http[{index}]"
        path = request.match.path
        reason = _impossible(request.match)
        if reason:
            yield catalogue.NEVER_MATCHES.found(request.place, f"{path} never matches: {reason}", key=f"{here}.path")
        elif path and not _is_pattern(request.match) and re.fullmatch(AMBIGUOUS_PATH, path):
            message = f"an application may read {path} as another path"
            yield catalogue.AMBIGUOUS_PATH.found(request.place, message, key=f"{here}.path")
        elif path == "/*":
            remedy = "leave the path out, or name what is needed"
            yield catalogue.WIDE_PATH.found(request.place, "every path fits /*", key=f"{here}.path", remedy=remedy)
        others = [(place, other.match) for place, other in enumerate(rule.http) if place != index]
        for place, other in others:
            if match_covers(other, request.match) and (place < index or not match_covers(request.match, other)):
                message = f"{_shown(other)} allows it already"
                yield catalogue.REPEATED_REQUEST.found(request.place, message, key=here, remedy="remove it")
                break


def _is_pattern(match: HttpMatch) -> bool:
    return match.is_prefix or match.is_template


def _impossible(match: HttpMatch) -> str:
    """Why no request that reaches a decision has such a path; empty when one may."""
    if _DOT_SEGMENT.search(match.path):
        return "dot segments are resolved before"
    if _NEEDLESS_ESCAPE.search(match.path):
        return "characters that need no escape are unescaped before"
    if _is_pattern(match) and (match.path.startswith("//") or re.search(r"(?i)%2f|%5c|\\", match.path)):
        return "no pattern holds a path that could be read as another; write it exactly"
    return ""


def _shown(match: HttpMatch) -> str:
    return f"{match.method or 'any method'} {match.path or 'any path'}"


def _lease(rule: TrafficRule, key: str, now: datetime.datetime) -> Iterator[Finding]:
    lease = rule.lease
    if lease is None or not lease.owner:
        remedy = "add lease: {owner: ...}"
        yield catalogue.MISSING_OWNER.found(rule.place, "nobody answers for this rule", key=f"{key}.lease.owner", remedy=remedy)
    if lease is None or lease.expires is None:
        return
    if lease.expired(now):
        message = f"the lease ended on {write_time(lease.expires)}"
        remedy = "remove the rule, or renew the lease with its reason"
        yield catalogue.EXPIRED_LEASE.found(rule.at("lease"), message, key=f"{key}.lease.expires", remedy=remedy)
    elif lease.expires - now <= SOON:
        message = f"the lease ends on {write_time(lease.expires)}"
        yield catalogue.LEASE_ENDS.found(rule.at("lease"), message, key=f"{key}.lease.expires")


def _shadowed(document: TrafficPolicy) -> Iterator[Finding]:
    by_peer: dict[tuple[object, int], list[int]] = {}
    expanded = [list(rule.rules()) for rule in document.rules]
    for index, rules in enumerate(expanded):
        for rule in rules:
            by_peer.setdefault(_group(rule), []).append(index)
    for index, rules in enumerate(expanded):
        for other in dict.fromkeys(by_peer[_group(rules[0])]):
            if other == index or not _all_covered(expanded[other], rules):
                continue
            # Of two that say the same, the first stays.
            if other < index or not _all_covered(rules, expanded[other]):
                message = f"the rule at line {document.rules[other].place.line} allows all of it"
                place = document.rules[index].place
                yield catalogue.SHADOWED_RULE.found(place, message, key=f"spec.rules[{index}]", remedy="remove it")
                break


def _group(rule: Rule) -> tuple[object, int]:
    """Rules that may cover each other share it."""
    return rule.source if isinstance(rule.source, WorkloadId) else AddressSource, rule.port


def _all_covered(outer: list[Rule], inner: Iterable[Rule]) -> bool:
    return all(rule_covers(outer, rule) for rule in inner)


def plaintext_peers(rule: TrafficRule) -> Iterator[tuple[int, Peer]]:
    """The peers that prove no identity, with their index."""
    return ((index, peer) for index, peer in enumerate(rule.peers) if isinstance(peer.source, AddressSource))
