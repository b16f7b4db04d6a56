"""A playbook for the xDS state machine: what a client says, what it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot, resource_from_bytes
from controlplane.xds.subscription import (
    Acked,
    DeltaRequest,
    DeltaResponse,
    DeltaStream,
    Event,
    Nacked,
    ProtocolError,
    SotwRequest,
    SotwResponse,
    SotwStream,
)


def resource(type_url: str, name: str, body: str = "1") -> Resource:
    """A resource whose version follows its body."""
    return resource_from_bytes(type_url, name, body.encode())


def snapshot(*resources: Resource) -> Snapshot:
    """A snapshot of these."""
    return Snapshot.of(resources)


def response(events: list[Event]) -> DeltaResponse:
    """The one response among events."""
    found = [event for event in events if isinstance(event, DeltaResponse)]
    assert len(found) == 1, events
    return found[0]


def names(events: list[Event]) -> list[tuple[str, list[str], list[str]]]:
    """Type, resources and removals of each response."""
    return [
        (types.SHORT_NAMES[e.type_url], sorted(r.name for r in e.resources), sorted(e.removed))
        for e in events
        if isinstance(e, DeltaResponse)
    ]


def ack(answered: DeltaResponse) -> DeltaRequest:
    """An ACK."""
    return DeltaRequest(answered.type_url, nonce=answered.nonce)


def test_wildcard_subscription_gets_everything_of_its_type() -> None:
    """An empty first subscription to clusters is a wildcard."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a"), resource(types.CLUSTER, "b")))
    assert names(stream.on_request(DeltaRequest(types.CLUSTER))) == [("CDS", ["a", "b"], [])]


def test_empty_wildcard_is_answered_so_that_the_client_can_go_on() -> None:
    """A wildcard on nothing is answered with an empty response."""
    stream = DeltaStream(snapshot())
    assert names(stream.on_request(DeltaRequest(types.LISTENER))) == [("LDS", [], [])]


def test_named_subscription_gets_only_its_names() -> None:
    """Endpoints are sent by name, and an unknown name is said to be absent."""
    stream = DeltaStream(snapshot(resource(types.ENDPOINT, "a"), resource(types.ENDPOINT, "b")))
    events = stream.on_request(DeltaRequest(types.ENDPOINT, subscribe=("a", "missing")))
    assert names(events) == [("EDS", ["a"], ["missing"])]


def test_ack_settles_and_nothing_is_sent_twice() -> None:
    """After the ACK the client has it."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a")))
    first = response(stream.on_request(DeltaRequest(types.CLUSTER)))
    assert not stream.settled
    assert stream.on_request(ack(first)) == [Acked(types.CLUSTER)]
    assert stream.settled
    assert stream.on_snapshot(snapshot(resource(types.CLUSTER, "a"))) == []


def test_not_settled_before_everything_was_asked_for() -> None:
    """A client that has not asked for a listener yet does not run the snapshot."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a"), resource(types.LISTENER, "l")))
    stream.on_request(ack(response(stream.on_request(DeltaRequest(types.CLUSTER)))))
    assert not stream.settled


def test_change_sends_only_what_changed() -> None:
    """A new version of one resource is one resource on the wire."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a"), resource(types.CLUSTER, "b")))
    stream.on_request(ack(response(stream.on_request(DeltaRequest(types.CLUSTER)))))
    changed = snapshot(resource(types.CLUSTER, "a", "2"), resource(types.CLUSTER, "b"))
    assert names(stream.on_snapshot(changed)) == [("CDS", ["a"], [])]


def test_changes_during_an_unanswered_response_wait_and_merge() -> None:
    """One response at a time per type: the answer brings the newest state."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a", "1")))
    first = response(stream.on_request(DeltaRequest(types.CLUSTER)))
    assert stream.on_snapshot(snapshot(resource(types.CLUSTER, "a", "2"))) == []
    assert stream.on_snapshot(snapshot(resource(types.CLUSTER, "a", "3"))) == []
    events = stream.on_request(ack(first))
    assert events[0] == Acked(types.CLUSTER)
    assert response(events).resources == (resource(types.CLUSTER, "a", "3"),)


def test_nack_is_reported_and_the_refused_version_is_not_sent_again() -> None:
    """The client keeps the last good; only something new is tried."""
    stream = DeltaStream(snapshot(resource(types.LISTENER, "a", "bad")))
    first = response(stream.on_request(DeltaRequest(types.LISTENER)))
    events = stream.on_request(DeltaRequest(types.LISTENER, nonce=first.nonce, error="no such filter"))
    assert events == [Nacked(types.LISTENER, "no such filter")]
    assert stream.on_snapshot(snapshot(resource(types.LISTENER, "a", "bad"))) == []
    assert names(stream.on_snapshot(snapshot(resource(types.LISTENER, "a", "good")))) == [("LDS", ["a"], [])]


def test_stale_ack_is_ignored() -> None:
    """An answer to an older response says nothing about the newer one."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a")))
    stream.on_request(DeltaRequest(types.CLUSTER))
    assert stream.on_request(DeltaRequest(types.CLUSTER, nonce="beef")) == []
    assert not stream.settled


def test_reconnect_with_initial_versions_sends_only_the_difference() -> None:
    """What the client kept is not sent; what it kept and is gone is removed."""
    kept, changed = resource(types.CLUSTER, "kept"), resource(types.CLUSTER, "changed", "2")
    stream = DeltaStream(snapshot(kept, changed))
    request = DeltaRequest(types.CLUSTER, initial_versions={"kept": kept.version, "changed": "old", "gone": "old"})
    assert names(stream.on_request(request)) == [("CDS", ["changed"], ["gone"])]


def test_unsubscribed_names_are_not_sent_any_more() -> None:
    """After an unsubscription a change says nothing to this client."""
    stream = DeltaStream(snapshot(resource(types.ENDPOINT, "a"), resource(types.ENDPOINT, "b")))
    first = response(stream.on_request(DeltaRequest(types.ENDPOINT, subscribe=("a", "b"))))
    stream.on_request(DeltaRequest(types.ENDPOINT, nonce=first.nonce, unsubscribe=("b",)))
    changed = snapshot(resource(types.ENDPOINT, "a", "2"), resource(types.ENDPOINT, "b", "2"))
    assert names(stream.on_snapshot(changed)) == [("EDS", ["a"], [])]


def test_subscribing_again_sends_again() -> None:
    """A client that subscribes to a name it had asks for it anew."""
    stream = DeltaStream(snapshot(resource(types.ENDPOINT, "a")))
    stream.on_request(ack(response(stream.on_request(DeltaRequest(types.ENDPOINT, subscribe=("a",))))))
    assert names(stream.on_request(DeltaRequest(types.ENDPOINT, subscribe=("a",)))) == [("EDS", ["a"], [])]


def test_explicit_star_and_names_live_together() -> None:
    """``*`` makes a wildcard that can be given up while names stay."""
    stream = DeltaStream(snapshot(resource(types.CLUSTER, "a"), resource(types.CLUSTER, "b")))
    first = response(stream.on_request(DeltaRequest(types.CLUSTER, subscribe=("*", "a"))))
    assert {r.name for r in first.resources} == {"a", "b"}
    stream.on_request(DeltaRequest(types.CLUSTER, nonce=first.nonce, unsubscribe=("*",)))
    changed = snapshot(resource(types.CLUSTER, "a", "2"), resource(types.CLUSTER, "b", "2"))
    assert names(stream.on_snapshot(changed)) == [("CDS", ["a"], [])]


def test_unknown_type_is_left_waiting() -> None:
    """A type that is not served gets no answer and breaks nothing."""
    assert DeltaStream(snapshot()).on_request(DeltaRequest("type.googleapis.com/nothing")) == []


def test_too_many_subscriptions_close_the_stream() -> None:
    """A client cannot make the server remember without bound."""
    many = tuple(str(number) for number in range(50_001))
    events = DeltaStream(snapshot()).on_request(DeltaRequest(types.ENDPOINT, subscribe=many))
    assert isinstance(events[0], ProtocolError)


def full(version: str, *, without_cluster: bool = False) -> Snapshot:
    """A listener and, unless it is to go, the cluster it used."""
    resources = [resource(types.LISTENER, "l", version)]
    if not without_cluster:
        resources.append(resource(types.CLUSTER, "c", version))
    return snapshot(*resources)


def connected(version: str) -> DeltaStream:
    """A stream whose client runs clusters and listeners."""
    stream = DeltaStream(full(version))
    stream.on_request(ack(response(stream.on_request(DeltaRequest(types.CLUSTER)))))
    stream.on_request(ack(response(stream.on_request(DeltaRequest(types.LISTENER)))))
    assert stream.settled
    return stream


def test_listeners_wait_for_their_clusters() -> None:
    """Make before break: the listener goes out once the clusters are answered."""
    stream = connected("1")
    events = stream.on_snapshot(full("2"))
    assert names(events) == [("CDS", ["c"], [])]
    assert names(stream.on_request(ack(response(events)))) == [("LDS", ["l"], [])]


def test_clusters_are_removed_after_their_listeners_let_go() -> None:
    """Make before break, the other way around."""
    stream = connected("1")
    events = stream.on_snapshot(full("2", without_cluster=True))
    assert names(events) == [("LDS", ["l"], [])]
    assert names(stream.on_request(ack(response(events)))) == [("CDS", [], ["c"])]


def test_sotw_sends_the_whole_type_and_versions_it() -> None:
    """State of the world: each response holds every subscribed resource."""
    stream = SotwStream(snapshot(resource(types.CLUSTER, "a")))
    (first,) = stream.on_request(SotwRequest(types.CLUSTER))
    assert isinstance(first, SotwResponse)
    assert stream.on_request(SotwRequest(types.CLUSTER, first.nonce, (), first.version)) == [Acked(types.CLUSTER)]
    (second,) = stream.on_snapshot(snapshot(resource(types.CLUSTER, "a"), resource(types.CLUSTER, "b")))
    assert isinstance(second, SotwResponse)
    assert [r.name for r in second.resources] == ["a", "b"]
    assert second.version != first.version


def test_sotw_names_replace_the_subscription() -> None:
    """The names of each request are the whole subscription."""
    stream = SotwStream(snapshot(resource(types.ENDPOINT, "a"), resource(types.ENDPOINT, "b")))
    (first,) = stream.on_request(SotwRequest(types.ENDPOINT, names=("a",)))
    assert isinstance(first, SotwResponse)
    events = stream.on_request(SotwRequest(types.ENDPOINT, first.nonce, ("b",), first.version))
    assert isinstance(events[1], SotwResponse)
    assert [r.name for r in events[1].resources] == ["b"]


def test_sotw_reconnect_with_the_same_version_gets_nothing() -> None:
    """A client that has exactly this needs nothing."""
    current = snapshot(resource(types.CLUSTER, "a"))
    stream = SotwStream(current)
    assert stream.on_request(SotwRequest(types.CLUSTER, version=current.type_version(types.CLUSTER))) == []
    assert stream.settled


def test_sotw_nack_and_stale_answers() -> None:
    """A NACK is reported once; an answer to an older nonce is ignored."""
    stream = SotwStream(snapshot(resource(types.LISTENER, "a")))
    (first,) = stream.on_request(SotwRequest(types.LISTENER))
    assert isinstance(first, SotwResponse)
    refused = SotwRequest(types.LISTENER, first.nonce, (), "", "bad")
    assert stream.on_request(refused) == [Nacked(types.LISTENER, "bad")]
    assert stream.on_request(SotwRequest(types.LISTENER, "old", (), "")) == []


CONTENT = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=6)


@given(st.lists(CONTENT, min_size=1, max_size=6), st.lists(st.booleans(), max_size=12))
def test_a_client_that_acks_ends_with_exactly_the_last_snapshot(contents: list[dict[str, str]], pauses: list[bool]) -> None:
    """Whatever comes between, applying every delta in turn gives the newest state."""

    def of(content: dict[str, str]) -> Snapshot:
        return snapshot(*(resource(types.CLUSTER, name, body) for name, body in content.items()))

    stream = DeltaStream(of(contents[0]))
    held: dict[str, str] = {}
    waiting = list(stream.on_request(DeltaRequest(types.CLUSTER)))
    pause = iter(pauses)
    for content in contents[1:]:
        waiting += stream.on_snapshot(of(content))
        if next(pause, True):
            waiting = _apply(stream, waiting, held)
    while waiting:
        waiting = _apply(stream, waiting, held)
    assert held == {name: resource(types.CLUSTER, name, body).version for name, body in contents[-1].items()}
    assert stream.settled


def _apply(stream: DeltaStream, events: list[Event], held: dict[str, str]) -> list[Event]:
    """Take the responses and ACK them; what that brings."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, DeltaResponse):
            held.update({r.name: r.version for r in event.resources})
            for name in event.removed:
                held.pop(name, None)
            out += stream.on_request(ack(event))
    return out
