"""Allow-lists as Envoy matcher trees: peer -> method -> path, spliced from cached entry bytes. Never decides what is allowed.

A matcher is a look-up; a list of RBAC policies is a walk (design decision 1). The name of the action that denies is what
Envoy reports, so it is the deny ID.
Messages: https://www.envoyproxy.io/docs/envoy/latest/xds/type/matcher/v3/matcher.proto
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Rule
from controlplane.xds import types, wire
from controlplane.xds.snapshot import Resource, resource_from_bytes

_TYPE = "type.googleapis.com/"
_HTTP_RBAC = _TYPE + "envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK_RBAC = _TYPE + "envoy.extensions.filters.network.rbac.v3.RBAC"
_ACTION = _TYPE + "envoy.config.rbac.v3.Action"
_URI_SAN = _TYPE + "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"
_SOURCE_IP = _TYPE + "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput"
_HEADER = _TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_IP_MATCHER = _TYPE + "xds.type.matcher.v3.IPMatcher"

#: An encoded slash or backslash may become a separator behind the proxy, so it never satisfies a pattern.
ENCODED_SEPARATOR = r"(?i)[^?#]*(%2f|%5c|\\)[^?]*(\?.*)?"


def _extension(name: str, type_url: str, body: bytes = b"") -> bytes:
    """``xds.core.v3.TypedExtensionConfig``: name = 1, typed_config = 2."""
    return wire.text(1, name) + wire.field(2, wire.any_message(type_url, body))


def _action(name: str, deny: bool) -> bytes:
    """A ``Matcher.OnMatch`` (action = 2) around an RBAC action: name = 1, action = 2 (ALLOW = 0, DENY = 1)."""
    body = wire.text(1, name) + (b"\x10\x01" if deny else b"")
    return wire.field(2, _extension("action", _ACTION, body))


def _tree(input_name: str, input_type: str, input_body: bytes, entries: bytes) -> bytes:
    """A ``Matcher`` (matcher_tree = 2) with an exact_match_map (``MatcherTree``: input = 1, exact_match_map = 2)."""
    return wire.field(2, wire.field(1, _extension(input_name, input_type, input_body)) + wire.field(2, entries))


def _entry(key: str, on_match: bytes) -> bytes:
    """One entry of ``MatchMap.map``: a map field 1 of key = 1, value = 2."""
    return wire.field(1, wire.text(1, key) + wire.field(2, on_match))


def _nested(matcher: bytes) -> bytes:
    """A ``Matcher.OnMatch`` that holds a matcher (field 1). A nested matcher without a match falls to the outer on_no_match."""
    return wire.field(1, matcher)


def _on_no_match(on_match: bytes) -> bytes:
    """``Matcher.on_no_match`` = 3."""
    return wire.field(3, on_match)


_ALLOW = _action("allow", deny=False)
_PATH_INPUT = wire.field(1, _extension("path", _HEADER, wire.text(1, ":path")))


def _path_is(value_match: bytes) -> bytes:
    """A ``Predicate`` (single_predicate = 1: input = 1, value_match = 2) on the path as it was sent."""
    return wire.field(1, _PATH_INPUT + wire.field(2, value_match))


def _fits(expression: str) -> bytes:
    """A ``StringMatcher`` (safe_regex = 5: google_re2 = 1, regex = 2)."""
    return wire.field(5, wire.field(1, b"") + wire.text(2, expression))


def _path_pattern(expression: str) -> bytes:
    """A ``Predicate``: the pattern fits (and_matcher = 3) and no encoded separator is there (not_matcher = 4)."""
    fits = _path_is(_fits(expression + r"(\?.*)?"))
    plain = wire.field(4, _path_is(_fits(ENCODED_SEPARATOR)))
    return wire.field(3, wire.field(1, fits) + wire.field(1, plain))


def _path_matcher(matches: Sequence[HttpMatch]) -> bytes:
    """Exact paths by look-up, patterns one by one; an exact path also matches with a query behind it."""
    exact = sorted({m.path for m in matches if not m.is_prefix and not m.is_template})
    patterns = sorted({m.path_expression() for m in matches if m.is_prefix or m.is_template})
    # StringMatcher prefix = 2
    predicates = [_path_is(wire.text(2, path + "?")) for path in exact] + [_path_pattern(e) for e in patterns]
    # Matcher.matcher_list = 1, MatcherList.matchers = 1 (predicate = 1, on_match = 2)
    walked = b"".join(wire.field(1, wire.field(1, predicate) + wire.field(2, _ALLOW)) for predicate in predicates)
    listed = wire.field(1, walked)
    if not exact:
        return listed
    entries = b"".join(_entry(path, _ALLOW) for path in exact)
    return _tree("path", _HEADER, wire.text(1, ":path"), entries) + _on_no_match(_nested(listed))


def _on_source(matches: frozenset[HttpMatch] | None) -> bytes:
    """What happens to a listed source: everything passes, or its methods and paths decide."""
    if matches is None:
        return _ALLOW
    anywhere = [m for m in matches if not m.method]

    def on_paths(listed: Sequence[HttpMatch]) -> bytes:
        return _ALLOW if any(not m.path for m in listed) else _nested(_path_matcher(listed))

    methods = sorted({m.method for m in matches if m.method})
    if not methods:
        return on_paths(anywhere)
    entries = b"".join(_entry(method, on_paths([m for m in matches if m.method in {method, ""}])) for method in methods)
    tree = _tree("method", _HEADER, wire.text(1, ":method"), entries)
    return _nested(tree + (_on_no_match(on_paths(anywhere)) if anywhere else b""))


@dataclass(frozen=True, slots=True)
class AllowList:
    """One port's allow-list. A peer's ``None`` means that it may send anything."""

    peers: Mapping[WorkloadId, frozenset[HttpMatch] | None]
    networks: Mapping[AddressSource, frozenset[HttpMatch] | None]


def allow_list_of(rules: Iterable[Rule], port: int, *, http: bool) -> AllowList:
    """The rules of one port, merged per source. On a TCP port a rule that asks for a method or path holds nothing."""
    found: dict[WorkloadId | AddressSource, frozenset[HttpMatch] | None] = {}
    for rule in rules:
        if rule.port != port:
            continue
        everything = not rule.http or HttpMatch() in rule.http
        if everything:
            found[rule.source] = None
        elif http and found.get(rule.source, frozenset()) is not None:
            found[rule.source] = (found.get(rule.source) or frozenset()) | frozenset(rule.http)
    return AllowList(
        {source: m for source, m in found.items() if isinstance(source, WorkloadId)},
        {source: m for source, m in found.items() if isinstance(source, AddressSource)},
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """What one RBAC filter is to do.

    ``deny_id`` names the denial of everyone who is not listed; empty lets them pass (learn). ``shadow`` only reports it
    (audit). ``blocked`` are quarantined peers, dropped under ``blocked_id`` whatever the mode.
    """

    allow_list: AllowList
    deny_id: str
    shadow: bool = False
    blocked: tuple[WorkloadId, ...] = ()
    blocked_id: str = ""


class AllowListBuilder:
    """Builds allow-list filters and keeps the bytes of entries, so that one changed edge costs one entry."""

    def __init__(self, trust_domain: str) -> None:
        self._trust_domain = trust_domain
        self._entries: dict[tuple[WorkloadId, frozenset[HttpMatch] | None], tuple[bytes, int]] = {}

    def build(self, name: str, wanted: Filter, *, http: bool, plaintext: bool) -> Resource:
        """The ECDS resource of one filter; ``plaintext`` decides by address, otherwise by identity.

        The version covers every input: the set of entries by the sum of their hashes, the rest literally.
        """
        if plaintext:
            listed, total = self._networks(wanted.allow_list.networks), 0
        else:
            listed, total = self._peers(wanted.allow_list.peers, frozenset(wanted.blocked))
        everyone = _on_no_match(_action(wanted.deny_id, deny=True) if wanted.deny_id else _ALLOW)
        blocked = () if plaintext else wanted.blocked
        always = b"".join(_entry(peer.uri(self._trust_domain), _action(wanted.blocked_id, deny=True)) for peer in blocked)
        tree = self._ip_tree if plaintext else self._uri_tree
        matcher_field, shadow_field = (4, 5) if http else (6, 7)
        if wanted.shadow:
            body = wire.field(shadow_field, tree(listed) + everyone)
            if always:
                body = wire.field(matcher_field, self._uri_tree(always) + _on_no_match(_ALLOW)) + body
        else:
            body = wire.field(matcher_field, tree(always + listed if wanted.deny_id else always) + everyone)
        if not http:
            body += wire.text(3, "allow")  # stat_prefix is required
        digest = hashlib.blake2b(total.to_bytes(16, "big"), digest_size=12)
        networks = sorted(wanted.allow_list.networks.items(), key=repr) if plaintext else ()
        digest.update(repr((name, wanted.deny_id, wanted.shadow, blocked, wanted.blocked_id, http, networks)).encode())
        message = _extension(name, _HTTP_RBAC if http else _NETWORK_RBAC, body)
        return resource_from_bytes(types.EXTENSION, name, message, version=digest.hexdigest())

    @staticmethod
    def _uri_tree(entries: bytes) -> bytes:
        """A look-up by the URI SAN that TLS proved; an empty map is not a valid look-up."""
        return _tree("uri_san", _URI_SAN, b"", entries) if entries else b""

    @staticmethod
    def _ip_tree(ranges: bytes) -> bytes:
        """A longest-prefix look-up by the connection's own source address, never by a header (custom_match = 4)."""
        if not ranges:
            return b""
        return wire.field(2, wire.field(1, _extension("ip", _SOURCE_IP)) + wire.field(4, _extension("ip", _IP_MATCHER, ranges)))

    def _peers(
        self, peers: Mapping[WorkloadId, frozenset[HttpMatch] | None], blocked: frozenset[WorkloadId]
    ) -> tuple[bytes, int]:
        """The map's entries and the sum of their hashes: the order of a map says nothing."""
        parts: list[bytes] = []
        total = 0
        cache = self._entries
        for item in peers.items():
            cached = cache.get(item)
            if cached is None:
                body = _entry(item[0].uri(self._trust_domain), _on_source(item[1]))
                cached = (body, int.from_bytes(hashlib.blake2b(body, digest_size=15).digest(), "big"))
                cache[item] = cached
            if item[0] not in blocked:
                parts.append(cached[0])
                total += cached[1]
        return b"".join(parts), total % (1 << 128)

    @staticmethod
    def _networks(networks: Mapping[AddressSource, frozenset[HttpMatch] | None]) -> bytes:
        """``IPMatcher.range_matchers`` = 1 (ranges = 1: ``CidrRange`` address_prefix = 1, prefix_len = 2; on_match = 2)."""
        parts = []
        for source, matches in networks.items():
            network = ipaddress.ip_network(source.cidr)
            length = wire.field(2, b"\x08" + wire.varint(network.prefixlen)) if network.prefixlen else b""
            cidr = wire.text(1, str(network.network_address)) + length
            parts.append(wire.field(1, wire.field(1, cidr) + wire.field(2, _on_source(matches))))
        return b"".join(parts)
