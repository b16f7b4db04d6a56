"""Routes to one upstream by method and path, where no sidecar stands at the destination to decide. Never says what is allowed.

The same meaning as the matcher trees of `xds.allowlist`, in the words of route matches:
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-routematch
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch

from controlplane.policy.rules import AMBIGUOUS_PATH, HttpMatch
from controlplane.xds import chains
from controlplane.xds.upstream import Upstream


def routes_to(upstream: Upstream, cluster: str, deny_id: str) -> list[Route]:
    """What becomes of requests to an upstream: the first route that fits decides. ``deny_id`` names the refusal of all of them."""
    if not upstream.allowed:
        return chains.refuse(deny_id)
    if not upstream.http:
        return chains.forward(cluster, name=upstream.reported)
    listed = [chains.forward(cluster, match=_match(match))[0] for match in _exact_first(upstream.http)]
    if upstream.refuses_unlisted:
        return [*listed, *chains.refuse(upstream.unlisted)]
    return [*listed, *chains.forward(cluster, name=upstream.unlisted)]


def _exact_first(matches: tuple[HttpMatch, ...]) -> Iterator[HttpMatch]:
    """A look at a path costs less than an expression."""
    yield from sorted(matches, key=lambda match: (match.is_template, match.is_prefix, match))


def _match(match: HttpMatch) -> RouteMatch:
    if not match.path:
        built = chains.any_path()
    elif match.is_template:
        built = RouteMatch()
        built.safe_regex.regex = match.path_expression()  # without the query
    elif match.is_prefix:
        built = RouteMatch(prefix=match.path[:-1])
    else:
        built = RouteMatch(path=match.path)
    if match.method:
        built.headers.add(name=":method").string_match.exact = match.method
    if match.is_template or match.is_prefix:
        unclear = built.headers.add(name=":path", invert_match=True)
        unclear.string_match.safe_regex.regex = AMBIGUOUS_PATH + r"(\?.*)?"
    return built
