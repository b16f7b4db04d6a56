"""Pieces of listeners that many sources have alike, built once. Kept with every input; never says who has them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter

from controlplane.topology.model import ServiceName
from controlplane.xds.upstream import Upstream

#: More than this of a kind are forgotten together. There are a few of some kilobytes for each port of the mesh.
KEPT = 20_000


class Shared:
    """Chains and listener filters in which nothing is the source's own. A listener copies them."""

    def __init__(self) -> None:
        self._filters: dict[Hashable, tuple[ListenerFilter, ...]] = {}
        self._chains: dict[Hashable, FilterChain] = {}
        self._kept: dict[tuple[ServiceName, int, tuple[str, ...]], tuple[Upstream, tuple[FilterChain, ...]]] = {}

    def toward(
        self, upstream: Upstream, addresses: tuple[str, ...], build: Callable[[], Iterable[FilterChain]]
    ) -> Iterable[FilterChain]:
        """The chains of an upstream at some addresses."""
        if not upstream.allowed or upstream.reported or upstream.http:
            return build()  # they hold the name of a denial, which is the source's own
        key = (upstream.service.name, upstream.port.number, addresses)
        kept = self._kept.get(key)
        if kept is None or kept[0] != upstream:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            kept = self._kept[key] = (upstream, tuple(build()))
        return kept[1]

    def chain(self, key: Hashable, build: Callable[[], FilterChain]) -> FilterChain:
        """A chain that depends on nothing but the key."""
        found = self._chains.get(key)
        if found is None:
            if len(self._chains) >= KEPT:
                self._chains.clear()
            found = self._chains[key] = build()
        return found

    def filters(self, key: Hashable, build: Callable[[], Sequence[ListenerFilter]]) -> Sequence[ListenerFilter]:
        """Listener filters that depend on nothing but the key."""
        found = self._filters.get(key)
        if found is None:
            if len(self._filters) >= KEPT:
                self._filters.clear()
            found = self._filters[key] = tuple(build())
        return found
