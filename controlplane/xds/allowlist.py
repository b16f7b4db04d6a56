"""Allow-lists as Envoy matcher trees: peer -> method -> path, spliced from cached entry bytes. Never decides what is allowed.

A matcher is a look-up; a list of RBAC policies is a walk (design decision 1). The name of the action that denies is what
Envoy reports, so it is the deny ID.
Messages: https://www.envoyproxy.io/docs/envoy/latest/xds/type/matcher/v3/matcher.proto
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AMBIGUOUS_PATH, AddressSource, HttpMatch
from controlplane.xds import types, wire
from controlplane.xds.lists import AllowList
from controlplane.xds.snapshot import Resource, resource_from_splice

_TYPE = "type.googleapis.com/"
_HTTP_RBAC = _TYPE + "envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK_RBAC = _TYPE + "envoy.extensions.filters.network.rbac.v3.RBAC"
_ACTION = _TYPE + "envoy.config.rbac.v3.Action"
_URI_SAN = _TYPE + "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"
_SOURCE_IP = _TYPE + "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput"
_HEADER = _TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_IP_MATCHER = _TYPE + "xds.type.matcher.v3.IPMatcher"
#: More cached entries than this are forgotten together; at some 400 bytes each they are 80 MB.
ENTRIES_KEPT = 200_000


def _extension(name: str, type_url: str, body: bytes = b"") -> bytes:
    """``xds.core.v3.TypedExtensionConfig``: name = 1, typed_config = 2."""
    return wire.text(1, name) + wire.field(2, wire.any_message(type_url, body))


def _action(name: str, *, deny: bool) -> bytes:
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
_URI_INPUT = wire.field(1, _extension("uri_san", _URI_SAN))
_IP_INPUT = wire.field(1, _extension("ip", _SOURCE_IP))


def _path_is(value_match: bytes) -> bytes:
    """A ``Predicate`` (single_predicate = 1: input = 1, value_match = 2) on the path as the application will get it."""
    return wire.field(1, _PATH_INPUT + wire.field(2, value_match))


def _fits(expression: str) -> bytes:
    """A ``StringMatcher`` (safe_regex = 5: google_re2 = 1, regex = 2) for a path, whatever its query."""
    return wire.field(5, wire.field(1, b"") + wire.text(2, expression + r"(\?.*)?"))


def _matcher_list(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A ``Matcher`` (matcher_list = 1: matchers = 1: predicate = 1, on_match = 2): the first predicate that holds decides."""
    return wire.field(1, b"".join(wire.field(1, wire.field(1, p) + wire.field(2, on_match)) for p, on_match in entries))


def _path_matcher(matches: Sequence[HttpMatch]) -> bytes:
    """Exact paths by look-up, then with a query behind them; patterns one by one, unless the path is ambiguous."""
    exact = sorted({m.path for m in matches if not m.is_prefix and not m.is_template})
    # StringMatcher prefix = 2; a path's prefix holds no "?", so it ends before the query
    patterns = [wire.text(2, path) for path in sorted({m.path[:-1] for m in matches if m.is_prefix and not m.is_template})]
    patterns += [_fits(expression) for expression in sorted({m.path_expression() for m in matches if m.is_template})]
    walked = [(_path_is(wire.text(2, path + "?")), _ALLOW) for path in exact]
    if patterns:
        # Predicate not_matcher = 4
        plain = wire.field(4, _path_is(_fits(AMBIGUOUS_PATH)))
        walked.append((plain, _nested(_matcher_list([(_path_is(pattern), _ALLOW) for pattern in patterns]))))
    listed = _matcher_list(walked)
    if not exact:
        return listed
    entries = b"".join(_entry(path, _ALLOW) for path in exact)
    return _tree("path", _HEADER, wire.text(1, ":path"), entries) + _on_no_match(_nested(listed))


def _on_source(matches: Sequence[HttpMatch]) -> bytes:
    """What happens to a listed source: everything passes (no matches), or its methods and paths decide."""
    if not matches:
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

    def __init__(self, trust_domain: str, *, entries_kept: int = ENTRIES_KEPT) -> None:
        self._trust_domain = trust_domain
        self._entries_kept = entries_kept
        #: What an entry's bytes depend on, beside the trust domain -> the bytes and their hash.
        self._entries: dict[tuple[WorkloadId, tuple[HttpMatch, ...]], tuple[bytes, bytes]] = {}

    def build(self, name: str, wanted: Filter, *, http: bool, plaintext: bool) -> Resource:
        """The ECDS resource of one filter; ``plaintext`` decides by address, otherwise by identity.

        The version covers every input that shows in the bytes: entries by their hashes, the rest literally.
        """
        parts, hashes = [], b""
        digest = hashlib.blake2b(digest_size=12)
        blocked = () if plaintext else wanted.blocked
        always = [self._blocked(peer, wanted.blocked_id) for peer in blocked]
        if plaintext and wanted.deny_id:
            parts = _networks(wanted.allow_list.networks)
            hashes = b"".join(parts)
        elif wanted.deny_id:
            parts, hashes = self._peers(wanted.allow_list.peers, frozenset(blocked))
        digest.update(hashes)
        digest.update(repr((name, wanted.deny_id, wanted.shadow, blocked, wanted.blocked_id, http, plaintext)).encode())
        everyone = _on_no_match(_action(wanted.deny_id, deny=True) if wanted.deny_id else _ALLOW)
        matcher_field, shadow_field = (4, 5) if http else (6, 7)
        stat_prefix = b"" if http else wire.text(3, "allow")  # the network filter requires one
        if wanted.shadow:
            enforced = wire.field(matcher_field, _uri_tree(always).append(_on_no_match(_ALLOW)).join()) if always else b""
            body = (_ip_tree if plaintext else _uri_tree)(parts).append(everyone).nest(shadow_field, stat_prefix + enforced)
        else:
            body = (_ip_tree if plaintext else _uri_tree)([*always, *parts]).append(everyone).nest(matcher_field, stat_prefix)
        body.nest_in_any(2, _HTTP_RBAC if http else _NETWORK_RBAC, wire.text(1, name))  # a TypedExtensionConfig
        return resource_from_splice(types.EXTENSION, name, digest.hexdigest(), body)

    def _blocked(self, peer: WorkloadId, deny_id: str) -> bytes:
        return _entry(peer.uri(self._trust_domain), _action(deny_id, deny=True))

    def _peers(
        self, peers: Mapping[WorkloadId, tuple[HttpMatch, ...]], blocked: frozenset[WorkloadId]
    ) -> tuple[list[bytes], bytes]:
        """The map's entries and their hashes."""
        wanted = [item for item in peers.items() if item[0] not in blocked] if blocked else peers.items()
        try:
            found = list(map(self._entries.__getitem__, wanted))
        except KeyError:
            self._remember(wanted)
            found = list(map(self._entries.__getitem__, wanted))
        return [body for body, _ in found], b"".join([entry_hash for _, entry_hash in found])

    def _remember(self, wanted: Collection[tuple[WorkloadId, tuple[HttpMatch, ...]]]) -> None:
        """Build the entries that are not kept."""
        missing = [item for item in wanted if item not in self._entries]
        if len(self._entries) + len(missing) > self._entries_kept:
            self._entries.clear()
            missing = list(wanted)
        for item in missing:
            peer, matches = item
            body = _entry(peer.uri(self._trust_domain), _on_source(matches))
            self._entries[item] = (body, hashlib.blake2b(body, digest_size=12).digest())


def _networks(networks: Mapping[AddressSource, tuple[HttpMatch, ...]]) -> list[bytes]:
    """``IPMatcher.range_matchers`` = 1 (ranges = 1: ``CidrRange`` address_prefix = 1, prefix_len = 2; on_match = 2).

    Without a match in the longest range, shorter ones are tried (exclusive = 3 is not set).
    """
    parts = []
    for source, matches in sorted(networks.items()):
        network = ipaddress.ip_network(source.cidr)
        length = wire.field(2, b"\x08" + wire.varint(network.prefixlen)) if network.prefixlen else b""
        cidr = wire.text(1, str(network.network_address)) + length
        parts.append(wire.field(1, wire.field(1, cidr) + wire.field(2, _on_source(matches))))
    return parts


def _uri_tree(entries: Sequence[bytes]) -> wire.Splice:
    """A ``Matcher``: a look-up by the URI SAN that TLS proved; an empty map is not a valid look-up, so none is made."""
    splice = wire.Splice(entries)
    return splice.nest(2, _URI_INPUT).nest(2) if entries else splice


def _ip_tree(ranges: Sequence[bytes]) -> wire.Splice:
    """A ``Matcher``: a longest-prefix look-up by the connection's own source address, never by a header (custom_match = 4)."""
    splice = wire.Splice(ranges)
    if not ranges:
        return splice
    return splice.nest_in_any(2, _IP_MATCHER, wire.text(1, "ip")).nest(4, _IP_INPUT).nest(2)
