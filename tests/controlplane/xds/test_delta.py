"""A playbook for delta streams: what a client says, what it is told."""

from __future__ import annotations

import pytest

from controlplane.xds import types
from controlplane.xds.delta import DeltaStream
from controlplane.xds.snapshot import Resource
from controlplane.xds.subscription import MAX_NAMES, Acked, DeltaRequest, DeltaResponse, Nacked, ProtocolError
from tests.controlplane.xds.streams import ack, delta, full, nack, resource, responses, snapshot

CDS, EDS, LDS, RDS, SDS, ECDS = types.CLUSTER, types.ENDPOINT, types.LISTENER, types.ROUTE, types.SECRET, types.EXTENSION


def clusters(**versions: str) -> DeltaStream:
    """A stream whose client runs these clusters."""
    stream = DeltaStream(snapshot(*(resource(CDS, name, version) for name, version in versions.items())))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    assert stream.settled
    return stream


def connected(version: str) -> DeltaStream:
    """A stream whose client runs a cluster and a listener."""
    stream = DeltaStream(full(version))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(LDS)))))
    assert stream.settled
    return stream


# -- subscriptions


@pytest.mark.parametrize("request_", [DeltaRequest(CDS), DeltaRequest(CDS, subscribe=("*",))], ids=["legacy", "star"])
def test_a_wildcard_gets_everything_of_its_type(request_: DeltaRequest) -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a"), resource(CDS, "b"), resource(LDS, "l")))
    assert responses(stream.on_request(request_)) == [("CDS", ["a", "b"], [])]


def test_a_wildcard_on_nothing_is_answered_so_that_the_client_can_go_on() -> None:
    assert responses(DeltaStream(snapshot()).on_request(DeltaRequest(LDS))) == [("LDS", [], [])]


def test_a_wildcard_on_nothing_that_has_to_wait_for_clusters_is_answered_after_them() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a")))
    first = delta(stream.on_request(DeltaRequest(CDS)))
    assert stream.on_request(DeltaRequest(LDS)) == []
    assert responses(stream.on_request(ack(first))) == [("LDS", [], [])]


@pytest.mark.parametrize("type_url", [EDS, RDS, SDS, ECDS])
def test_an_empty_first_subscription_to_other_types_asks_for_nothing(type_url: str) -> None:
    stream = DeltaStream(snapshot(resource(type_url, "a")))
    assert stream.on_request(DeltaRequest(type_url)) == []
    assert responses(stream.on_request(DeltaRequest(type_url, subscribe=("a",)))) == [(types.SHORT_NAMES[type_url], ["a"], [])]


def test_a_named_subscription_gets_its_names_and_hears_what_is_not_there() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    assert responses(stream.on_request(DeltaRequest(EDS, subscribe=("a", "missing")))) == [("EDS", ["a"], ["missing"])]


def test_a_name_that_was_missing_is_sent_when_it_appears() -> None:
    stream = DeltaStream(snapshot())
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))))
    assert responses(stream.on_snapshot(snapshot(resource(EDS, "a")))) == [("EDS", ["a"], [])]


def test_a_missing_name_that_is_asked_for_during_a_response_is_told_with_the_next() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a")))
    first = delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))
    assert stream.on_request(DeltaRequest(EDS, subscribe=("missing",))) == []
    assert responses(stream.on_request(ack(first))) == [("EDS", [], ["missing"])]


def test_unsubscribed_names_are_not_sent_any_more() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    first = delta(stream.on_request(DeltaRequest(EDS, subscribe=("a", "b"))))
    stream.on_request(DeltaRequest(EDS, nonce=first.nonce, unsubscribe=("b",)))
    changed = snapshot(resource(EDS, "a", "2"), resource(EDS, "b", "2"))
    assert responses(stream.on_snapshot(changed)) == [("EDS", ["a"], [])]
    assert stream.on_request(DeltaRequest(EDS, unsubscribe=("never-had",))) == []


def test_an_unsubscribed_name_that_vanishes_is_not_told() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a")))
    first = delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))
    stream.on_request(DeltaRequest(EDS, nonce=first.nonce, unsubscribe=("a",)))
    assert stream.on_snapshot(snapshot()) == []


def test_subscribing_again_sends_again() -> None:
    """The client may have dropped it."""
    stream = DeltaStream(snapshot(resource(EDS, "a")))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))))
    assert responses(stream.on_request(DeltaRequest(EDS, subscribe=("a",)))) == [("EDS", ["a"], [])]


def test_star_and_names_live_together_and_star_can_be_given_up() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a"), resource(CDS, "b")))
    first = delta(stream.on_request(DeltaRequest(CDS, subscribe=("*", "a"))))
    assert {r.name for r in first.resources} == {"a", "b"}
    stream.on_request(DeltaRequest(CDS, nonce=first.nonce, unsubscribe=("*",)))
    changed = snapshot(resource(CDS, "a", "2"), resource(CDS, "b", "2"))
    assert responses(stream.on_snapshot(changed)) == [("CDS", ["a"], [])]


def test_a_legacy_wildcard_stays_when_names_are_added_and_ends_with_star() -> None:
    stream = clusters(a="1", b="1")
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS, subscribe=("a",))))))
    both = delta(stream.on_snapshot(snapshot(resource(CDS, "a", "2"), resource(CDS, "b", "2"))))
    assert {r.name for r in both.resources} == {"a", "b"}
    stream.on_request(DeltaRequest(CDS, nonce=both.nonce, unsubscribe=("*",)))
    assert responses(stream.on_snapshot(snapshot(resource(CDS, "a", "3"), resource(CDS, "b", "3")))) == [("CDS", ["a"], [])]


def test_giving_up_a_name_beside_star_brings_it_again_or_says_that_it_is_gone() -> None:
    """The client cannot know whether "*" covers it, and may have dropped it.

    https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources
    """
    stream = DeltaStream(snapshot(resource(CDS, "a"), resource(CDS, "b")))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS, subscribe=("*", "a", "missing"))))))
    assert responses(stream.on_request(DeltaRequest(CDS, unsubscribe=("a", "missing")))) == [("CDS", ["a"], ["missing"])]


def test_star_is_answered_also_when_it_is_asked_for_later() -> None:
    stream = DeltaStream(snapshot())
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS, subscribe=("missing",))))))
    assert responses(stream.on_request(DeltaRequest(CDS, subscribe=("*",)))) == [("CDS", [], [])]


def test_a_type_that_is_not_served_is_left_waiting() -> None:
    assert DeltaStream(snapshot()).on_request(DeltaRequest("type.googleapis.com/nothing")) == []


def test_a_client_cannot_make_the_server_remember_without_bound() -> None:
    many = tuple(str(number) for number in range(MAX_NAMES + 1))
    for request in (DeltaRequest(EDS, subscribe=many), DeltaRequest(CDS, initial_versions=dict.fromkeys(many, "1"))):
        assert isinstance(DeltaStream(snapshot()).on_request(request)[0], ProtocolError)
    stream = DeltaStream(snapshot())
    stream.on_request(DeltaRequest(EDS, subscribe=many[:-1]))
    assert isinstance(stream.on_request(DeltaRequest(EDS, subscribe=("one-more",)))[0], ProtocolError)


# -- answers


def test_after_the_ack_the_client_has_it_and_nothing_is_sent_twice() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a")))
    first = delta(stream.on_request(DeltaRequest(CDS)))
    settled_before = stream.settled
    assert stream.on_request(ack(first)) == [Acked(CDS)]
    assert (settled_before, stream.settled) == (False, True)
    assert stream.on_snapshot(snapshot(resource(CDS, "a"))) == []


def test_a_client_that_has_not_asked_for_everything_does_not_run_the_snapshot() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a"), resource(LDS, "l")))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    assert not stream.settled


def test_a_change_sends_only_what_changed() -> None:
    stream = clusters(a="1", b="1", gone="1")
    changed = snapshot(resource(CDS, "a", "2"), resource(CDS, "b"))
    assert responses(stream.on_snapshot(changed)) == [("CDS", ["a"], ["gone"])]


def test_changes_during_an_unanswered_response_wait_and_merge() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a", "1")))
    first = delta(stream.on_request(DeltaRequest(CDS)))
    assert stream.on_snapshot(snapshot(resource(CDS, "a", "2"))) == []
    assert stream.on_snapshot(snapshot(resource(CDS, "a", "3"))) == []
    events = stream.on_request(ack(first))
    assert events[0] == Acked(CDS)
    assert delta(events).resources == (resource(CDS, "a", "3"),)


def test_every_response_has_a_nonce_of_its_own() -> None:
    stream = DeltaStream(full("1"))
    waiting = [*stream.on_request(DeltaRequest(CDS)), *stream.on_request(DeltaRequest(LDS))]
    nonces = []
    for version in "234":
        while waiting:
            event = waiting.pop(0)
            if isinstance(event, DeltaResponse):
                nonces.append(event.nonce)
                waiting += stream.on_request(ack(event))
        waiting += stream.on_snapshot(full(version))
    assert len(set(nonces)) == len(nonces) == 6


def test_an_answer_to_something_older_says_nothing() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a")))
    first = delta(stream.on_request(DeltaRequest(CDS)))
    assert stream.on_request(DeltaRequest(CDS, nonce="beef")) == []
    assert stream.on_request(DeltaRequest(CDS, nonce="beef", error="bad")) == []
    assert not stream.settled
    assert stream.on_request(ack(first)) == [Acked(CDS)]
    assert stream.on_request(ack(first)) == []


def test_a_subscription_beside_an_old_nonce_counts() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    first = delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))
    stream.on_request(ack(first))
    assert responses(stream.on_request(DeltaRequest(EDS, nonce="beef", subscribe=("b",)))) == [("EDS", ["b"], [])]


def test_a_nack_is_reported_and_the_refused_version_is_not_sent_again() -> None:
    stream = DeltaStream(snapshot(resource(LDS, "a", "bad")))
    assert stream.on_request(nack(delta(stream.on_request(DeltaRequest(LDS))), "no such filter")) == [Nacked(LDS, "no such filter")]
    assert stream.on_snapshot(snapshot(resource(LDS, "a", "bad"))) == []
    assert not stream.settled
    assert responses(stream.on_snapshot(snapshot(resource(LDS, "a", "good")))) == [("LDS", ["a"], [])]


def test_a_refused_version_is_not_sent_again_after_others_were_taken() -> None:
    stream = DeltaStream(snapshot(resource(CDS, "a", "bad")))
    stream.on_request(nack(delta(stream.on_request(DeltaRequest(CDS)))))
    events = stream.on_snapshot(snapshot(resource(CDS, "a", "bad"), resource(CDS, "b")))
    assert responses(events) == [("CDS", ["b"], [])]
    assert stream.on_request(ack(delta(events))) == [Acked(CDS)]
    assert stream.on_snapshot(snapshot(resource(CDS, "a", "bad"), resource(CDS, "b"))) == []
    assert not stream.settled


def test_going_back_after_a_nack_is_sent_because_the_client_was_told_otherwise() -> None:
    stream = clusters(a="good")
    stream.on_request(nack(delta(stream.on_snapshot(snapshot(resource(CDS, "a", "bad"))))))
    back = delta(stream.on_snapshot(snapshot(resource(CDS, "a", "good"))))
    stream.on_request(ack(back))
    assert stream.settled


def test_who_refuses_a_removal_does_not_run_the_whole_snapshot() -> None:
    stream = clusters(a="1", b="1")
    stream.on_request(nack(removal := delta(stream.on_snapshot(snapshot(resource(CDS, "a"))))))
    assert removal.removed == ("b",)
    assert not stream.settled
    stream.on_request(ack(delta(stream.on_snapshot(snapshot(resource(CDS, "a", "2"))))))
    assert stream.settled


def test_a_client_that_asks_again_for_what_it_refused_gets_it() -> None:
    stream = DeltaStream(snapshot(resource(EDS, "a")))
    stream.on_request(nack(delta(stream.on_request(DeltaRequest(EDS, subscribe=("a",))))))
    assert responses(stream.on_request(DeltaRequest(EDS, subscribe=("a",)))) == [("EDS", ["a"], [])]


# -- reconnecting


def test_a_reconnecting_client_gets_only_the_difference() -> None:
    kept, changed = resource(CDS, "kept"), resource(CDS, "changed", "2")
    stream = DeltaStream(snapshot(kept, changed))
    request = DeltaRequest(CDS, initial_versions={"kept": kept.version, "changed": "old", "gone": "old"})
    assert responses(stream.on_request(request)) == [("CDS", ["changed"], ["gone"])]


def test_a_reconnecting_client_that_has_everything_is_told_so_and_settled() -> None:
    kept = resource(CDS, "kept")
    stream = DeltaStream(snapshot(kept))
    answer = delta(stream.on_request(DeltaRequest(CDS, initial_versions={"kept": kept.version})))
    assert (answer.resources, answer.removed) == ((), ())
    stream.on_request(ack(answer))
    assert stream.settled


def test_a_reconnecting_client_with_names_gets_only_the_difference() -> None:
    kept = resource(EDS, "kept")
    stream = DeltaStream(snapshot(kept, resource(EDS, "new")))
    request = DeltaRequest(EDS, subscribe=("kept", "new", "gone"), initial_versions={"kept": kept.version, "gone": "1"})
    assert responses(stream.on_request(request)) == [("EDS", ["new"], ["gone"])]


# -- order


def test_listeners_wait_for_their_clusters() -> None:
    stream = connected("1")
    events = stream.on_snapshot(full("2"))
    assert responses(events) == [("CDS", ["c"], [])]
    assert responses(stream.on_request(ack(delta(events)))) == [("LDS", ["l"], [])]


def test_clusters_are_removed_after_their_listeners_let_go() -> None:
    stream = connected("1")
    events = stream.on_snapshot(full("2", without_cluster=True))
    assert responses(events) == [("LDS", ["l"], [])]
    assert responses(stream.on_request(ack(delta(events)))) == [("CDS", [], ["c"])]


def test_a_cluster_stays_as_long_as_a_refused_listener_keeps_the_one_before_in_place() -> None:
    """The last good listener still uses it."""
    stream = connected("1")
    events = stream.on_snapshot(full("2", without_cluster=True))
    assert responses(stream.on_request(nack(delta(events)))) == []
    events = stream.on_snapshot(full("3", without_cluster=True))
    assert responses(stream.on_request(ack(delta(events)))) == [("CDS", [], ["c"])]


def test_refused_clusters_do_not_hold_up_listeners() -> None:
    """A bad cluster must not keep a listener that closes a port from being sent."""
    stream = connected("1")
    events = stream.on_snapshot(full("2"))
    assert responses(stream.on_request(nack(delta(events)))) == [("LDS", ["l"], [])]


def cluster(version: str, name: str = "c") -> Resource:
    """A cluster whose endpoints have a name that another cluster may share."""
    return resource(CDS, name, version, (EDS, "e"))


def test_a_changed_cluster_gets_its_endpoints_again() -> None:
    """It waits for them, and Envoy does not ask: it has them already, for the cluster as it was."""
    endpoints = resource(EDS, "e")
    before = snapshot(cluster("1"), endpoints)
    stream = DeltaStream(before)
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(EDS, subscribe=("e",))))))
    assert stream.settled
    after = snapshot(cluster("2"), endpoints).sharing(before)
    assert responses(stream.on_snapshot(after)) == [("CDS", ["c"], []), ("EDS", ["e"], [])]
    more = snapshot(cluster("2"), cluster("1", "d"), endpoints).sharing(after)
    assert stream.on_snapshot(more) == []


def test_a_changed_cluster_is_told_when_its_endpoints_are_gone_meanwhile() -> None:
    """Otherwise it would wait for them, and every other cluster for it."""
    stream = DeltaStream(snapshot(cluster("1"), resource(EDS, "e")))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    endpoints = delta(stream.on_request(DeltaRequest(EDS, subscribe=("e",))))
    assert responses(stream.on_snapshot(snapshot(cluster("2"), resource(EDS, "e")))) == [("CDS", ["c"], [])]
    assert stream.on_snapshot(snapshot()) == []
    assert responses(stream.on_request(ack(endpoints))) == [("EDS", [], ["e"])]


def test_a_reconnecting_client_gets_the_endpoints_of_changed_clusters_again() -> None:
    endpoints = resource(EDS, "e")
    stream = DeltaStream(snapshot(cluster("2"), endpoints))
    assert responses(stream.on_request(DeltaRequest(CDS, initial_versions={"c": "old"}))) == [("CDS", ["c"], [])]
    request = DeltaRequest(EDS, subscribe=("e",), initial_versions={"e": endpoints.version})
    assert responses(stream.on_request(request)) == [("EDS", ["e"], [])]


def test_a_reconnecting_client_with_the_same_clusters_does_not() -> None:
    endpoints = resource(EDS, "e")
    stream = DeltaStream(snapshot(cluster("1"), endpoints))
    stream.on_request(DeltaRequest(CDS, initial_versions={"c": cluster("1").version}))
    assert stream.on_request(DeltaRequest(EDS, subscribe=("e",), initial_versions={"e": endpoints.version})) == []


def test_allow_lists_wait_for_nobody() -> None:
    """A policy change is one ECDS response, whatever else is on its way."""
    before = snapshot(resource(CDS, "c"), resource(ECDS, "allow"))
    stream = DeltaStream(before)
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(CDS)))))
    stream.on_request(ack(delta(stream.on_request(DeltaRequest(ECDS, subscribe=("allow",))))))
    after = snapshot(resource(CDS, "c", "2"), resource(ECDS, "allow", "2"))
    assert responses(stream.on_snapshot(after)) == [("CDS", ["c"], []), ("ECDS", ["allow"], [])]
