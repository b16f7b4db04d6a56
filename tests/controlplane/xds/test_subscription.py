"""Both kinds of stream against a client that does what Envoy does: whatever comes, it ends with the last snapshot, and never
holds a listener or route whose clusters it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds import types
from controlplane.xds.delta import DeltaStream
from controlplane.xds.snapshot import Resource, Snapshot
from controlplane.xds.sotw import SotwStream
from controlplane.xds.subscription import DeltaRequest, DeltaResponse, Event, SotwRequest, SotwResponse
from tests.controlplane.xds.streams import resource, snapshot

CDS, EDS, LDS, RDS, ECDS = types.CLUSTER, types.ENDPOINT, types.LISTENER, types.ROUTE, types.EXTENSION


@dataclass
class Client:
    """Holds what it took, subscribes to what that needs, and refuses what its test says."""

    stream: DeltaStream | SotwStream
    held: dict[tuple[str, str], Resource] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    inbox: list[Event] = field(default_factory=list)
    refuse_next: bool = False
    before: list[Resource] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    held_back: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for type_url in (CDS, LDS):
            self.inbox += self._send(type_url)

    def _send(self, type_url: str, nonce: str = "", error: str | None = None, version: str = "") -> list[Event]:
        """A request, with the subscription that what is held asks for."""
        wanted = {name for r in self.held.values() for needed, name in r.needs if needed == type_url} - {
            name for needed, name in self.held if needed == type_url and type_url in types.WILDCARD
        }
        before = self.names.get(type_url, set())
        named = set() if type_url in types.WILDCARD else wanted
        self.names[type_url] = named
        if isinstance(self.stream, SotwStream):
            return self.stream.on_request(SotwRequest(type_url, nonce, tuple(sorted(named)), version, error))
        subscribe, unsubscribe = tuple(sorted(named - before)), tuple(sorted(before - named))
        return self.stream.on_request(DeltaRequest(type_url, nonce, subscribe, unsubscribe, {}, error))

    def step(self) -> None:
        """Take or refuse one response."""
        event = self.inbox.pop(0)
        if not isinstance(event, DeltaResponse | SotwResponse):
            return
        refused, self.refuse_next = self.refuse_next, False
        version = event.version if isinstance(event, SotwResponse) else ""
        if refused:
            self.inbox += self._send(event.type_url, event.nonce, "bad", version)
            return
        self._take(event)
        self.check()
        self._await_endpoints(event)
        if event.type_url == CDS and self.awaited:
            self.held_back.append((event.nonce, version))
        else:
            self.inbox += self._send(event.type_url, event.nonce, None, version)
        while self.held_back and not self.awaited:
            nonce, version = self.held_back.pop(0)
            self.inbox += self._send(CDS, nonce, None, version)
        for type_url in (EDS, ECDS, RDS):
            needed = {name for r in self.held.values() for of, name in r.needs if of == type_url}
            if needed != self.names.get(type_url, set()):
                # As in Envoy, what nothing refers to any more is let go.
                self.held = {key: r for key, r in self.held.items() if key[0] != type_url or key[1] in needed}
                self.inbox += self._send(type_url)

    def _await_endpoints(self, event: DeltaResponse | SotwResponse) -> None:
        """As Envoy does, a cluster that is new or changed waits for its endpoints, and its response for it."""
        if event.type_url == CDS:
            self.awaited |= {name for r in event.resources if r not in self.before for of, name in r.needs if of == EDS}
        elif event.type_url == EDS:
            self.awaited -= {r.name for r in event.resources} | {*(event.removed if isinstance(event, DeltaResponse) else ())}
        if event.type_url == CDS and isinstance(event, SotwResponse):
            self.awaited &= {name for r in event.resources for of, name in r.needs if of == EDS}

    def _take(self, event: DeltaResponse | SotwResponse) -> None:
        self.before = [*self.held.values()]
        if isinstance(event, DeltaResponse):
            for name in event.removed:
                self.held.pop((event.type_url, name), None)
        elif event.type_url in types.WILDCARD:
            self.held = {key: r for key, r in self.held.items() if key[0] != event.type_url}
        self.held.update({(r.type_url, r.name): r for r in event.resources})

    def check(self) -> None:
        """No user without its upstream."""
        for r in self.held.values():
            for need in r.needs:
                assert need[0] != CDS or need in self.held, f"{r.name} without {need[1]}"

    def drain(self) -> None:
        for _ in range(200):
            if not self.inbox:
                return
            self.step()
        raise AssertionError("the conversation does not end")


LETTERS = st.sampled_from("abc")


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Listeners and routes that use clusters that have endpoints; every listener has an allow-list."""

    def made() -> Iterator[Resource]:
        clusters = draw(st.dictionaries(LETTERS, st.sampled_from("12"), max_size=3))
        for name, version in clusters.items():
            yield resource(CDS, name, f"c{name}{version}", (EDS, name))
            yield resource(EDS, name, f"e{name}{draw(st.sampled_from('12'))}")
        uses = st.lists(st.sampled_from(sorted(clusters)), max_size=2) if clusters else st.just([])
        for name in draw(st.sets(st.sampled_from("xy"))):
            needs = sorted({(CDS, cluster) for cluster in draw(uses)})
            route = sorted({(CDS, cluster) for cluster in draw(uses)})
            yield resource(RDS, name, f"r{name}{route}", *route)
            yield resource(ECDS, name, f"a{draw(st.sampled_from('12'))}")
            yield resource(LDS, name, f"l{name}{needs}", *needs, (RDS, name), (ECDS, name))

    return snapshot(*made())


@pytest.mark.parametrize("kind", [DeltaStream, SotwStream])
@given(contents=st.lists(snapshots(), min_size=1, max_size=5), pace=st.lists(st.integers(0, 4), max_size=5))
def test_a_client_that_takes_everything_ends_with_exactly_the_last_snapshot(
    kind: type[DeltaStream | SotwStream], contents: list[Snapshot], pace: list[int]
) -> None:
    client = Client(kind(contents[0]))
    for index, content in enumerate(contents[1:]):
        for _ in range(min(pace[index] if index < len(pace) else 1, len(client.inbox))):
            client.step()
        client.inbox += client.stream.on_snapshot(content)
    client.drain()
    assert client.stream.settled
    wanted = {(r.type_url, r.name): r for by_name in contents[-1].resources.values() for r in by_name.values()}
    needed = {need for r in client.held.values() for need in r.needs}
    held = {key: r for key, r in client.held.items() if key[0] in types.WILDCARD or key in needed}
    assert held == wanted


@pytest.mark.parametrize("kind", [DeltaStream, SotwStream])
@given(contents=st.lists(snapshots(), min_size=2, max_size=5), refusals=st.lists(st.integers(0, 8), max_size=3))
def test_whatever_a_client_refuses_it_never_loses_what_its_last_good_needs(
    kind: type[DeltaStream | SotwStream], contents: list[Snapshot], refusals: list[int]
) -> None:
    client = Client(kind(contents[0]))
    step = 0
    for content in contents[1:]:
        while client.inbox:
            client.refuse_next = (
                step in refusals
                and isinstance(client.inbox[0], DeltaResponse | SotwResponse)
                and (client.inbox[0].type_url in (LDS, RDS))
            )
            client.step()
            step += 1
            assert step < 500
        client.inbox += client.stream.on_snapshot(content)
    client.drain()
