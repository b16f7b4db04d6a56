"""A playbook for state-of-the-world streams: what a client says, what it is told."""

from __future__ import annotations

from controlplane.xds import types
from controlplane.xds.sotw import SotwStream
from controlplane.xds.subscription import MAX_NAMES, Acked, Nacked, ProtocolError, SotwRequest
from tests.controlplane.xds.streams import full, resource, responses, snapshot, sotw, sotw_ack, sotw_nack

CDS, EDS, LDS, RDS = types.CLUSTER, types.ENDPOINT, types.LISTENER, types.ROUTE


def connected(version: str) -> SotwStream:
    """A stream whose client runs a cluster and a listener."""
    stream = SotwStream(full(version))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(CDS)))))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(LDS)))))
    assert stream.settled
    return stream


def test_every_response_holds_the_whole_type_and_has_a_version() -> None:
    stream = SotwStream(snapshot(resource(CDS, "a")))
    first = sotw(stream.on_request(SotwRequest(CDS)))
    assert stream.on_request(sotw_ack(first)) == [Acked(CDS)]
    second = sotw(stream.on_snapshot(snapshot(resource(CDS, "a"), resource(CDS, "b"))))
    assert [r.name for r in second.resources] == ["a", "b"]
    assert second.version != first.version
    assert second.nonce != first.nonce


def test_a_wildcard_on_nothing_is_answered_so_that_the_client_can_go_on() -> None:
    assert responses(SotwStream(snapshot()).on_request(SotwRequest(CDS))) == [("CDS", [], [])]


def test_star_asks_for_everything_of_any_type() -> None:
    stream = SotwStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    assert responses(stream.on_request(SotwRequest(EDS, names=("*",)))) == [("EDS", ["a", "b"], [])]


def test_the_names_of_each_request_are_the_whole_subscription() -> None:
    stream = SotwStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    first = sotw(stream.on_request(SotwRequest(EDS, names=("a",))))
    assert responses(stream.on_request(sotw_ack(first, "b"))) == [("EDS", ["b"], [])]


def test_names_that_do_not_exist_are_waited_for() -> None:
    stream = SotwStream(snapshot())
    assert stream.on_request(SotwRequest(EDS, names=("a",))) == []
    assert responses(stream.on_snapshot(snapshot(resource(EDS, "a")))) == [("EDS", ["a"], [])]


def test_a_name_that_was_dropped_and_is_wanted_again_is_sent_again() -> None:
    stream = SotwStream(snapshot(resource(EDS, "a")))
    first = sotw(stream.on_request(SotwRequest(EDS, names=("a",))))
    assert stream.on_request(sotw_ack(first)) == [Acked(EDS)]
    assert responses(stream.on_request(sotw_ack(first, "a"))) == [("EDS", ["a"], [])]


def test_no_names_after_star_are_no_wildcard() -> None:
    stream = SotwStream(snapshot(resource(CDS, "a")))
    first = sotw(stream.on_request(SotwRequest(CDS, names=("*",))))
    stream.on_request(sotw_ack(first))
    assert stream.on_snapshot(snapshot(resource(CDS, "a", "2"))) == []


def test_the_last_named_cluster_that_goes_is_told_for_it_is_gone_by_being_left_out() -> None:
    """Of other types a response says nothing of what it leaves out.

    https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#deleting-resources
    """
    stream = SotwStream(snapshot(resource(CDS, "a"), resource(EDS, "a")))
    for type_url in (CDS, EDS):
        stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(type_url, names=("a",)))), "a"))
    assert responses(stream.on_snapshot(snapshot())) == [("CDS", [], [])]


def test_no_names_after_names_are_no_wildcard() -> None:
    stream = SotwStream(snapshot(resource(CDS, "a"), resource(CDS, "b")))
    first = sotw(stream.on_request(SotwRequest(CDS, names=("a",))))
    assert stream.on_request(sotw_ack(first)) == [Acked(CDS)]
    assert stream.on_snapshot(snapshot(resource(CDS, "a", "2"))) == []


def test_a_reconnecting_client_with_the_same_version_gets_nothing() -> None:
    first = sotw(SotwStream(snapshot(resource(CDS, "a"))).on_request(SotwRequest(CDS)))
    stream = SotwStream(snapshot(resource(CDS, "a")))
    assert stream.on_request(SotwRequest(CDS, version=first.version)) == []
    assert stream.settled


def test_a_reconnecting_client_that_names_more_than_it_has_gets_it() -> None:
    """Its version is of what it had; taken for the whole type, the new name would never come."""
    current = snapshot(resource(EDS, "a"), resource(EDS, "b"))
    had = sotw(SotwStream(current).on_request(SotwRequest(EDS, names=("a",))))
    assert responses(SotwStream(current).on_request(SotwRequest(EDS, names=("a", "b"), version=had.version))) == [
        ("EDS", ["a", "b"], [])
    ]


def test_a_nack_is_reported_once_and_the_same_is_not_sent_again() -> None:
    stream = SotwStream(snapshot(resource(LDS, "a", "bad")))
    refused = sotw_nack(sotw(stream.on_request(SotwRequest(LDS))))
    assert stream.on_request(refused) == [Nacked(LDS, "bad")]
    assert stream.on_request(refused) == []
    assert stream.on_snapshot(snapshot(resource(LDS, "a", "bad"))) == []
    assert not stream.settled
    good = sotw(stream.on_snapshot(snapshot(resource(LDS, "a", "good"))))
    assert stream.on_request(sotw_ack(good)) == [Acked(LDS)]
    assert stream.settled


def test_an_answer_to_something_older_is_ignored_with_its_names() -> None:
    stream = SotwStream(snapshot(resource(EDS, "a"), resource(EDS, "b")))
    first = sotw(stream.on_request(SotwRequest(EDS, names=("a",))))
    stream.on_request(sotw_ack(first, "a"))
    second = sotw(stream.on_snapshot(snapshot(resource(EDS, "a", "2"), resource(EDS, "b"))))
    assert stream.on_request(sotw_ack(first, "a", "b")) == []
    assert responses(stream.on_request(sotw_ack(second, "a", "b"))) == [("EDS", ["a", "b"], [])]


def test_changes_during_an_unanswered_response_wait_and_merge() -> None:
    stream = SotwStream(snapshot(resource(EDS, "a", "1")))
    first = sotw(stream.on_request(SotwRequest(EDS, names=("a",))))
    assert stream.on_snapshot(snapshot(resource(EDS, "a", "2"))) == []
    assert stream.on_snapshot(snapshot(resource(EDS, "a", "3"))) == []
    assert sotw(stream.on_request(sotw_ack(first, "a"))).resources == (resource(EDS, "a", "3"),)


def test_changes_of_clusters_do_not_wait_for_an_answer() -> None:
    """Envoy answers when they are warm, and one that was removed meanwhile would get no endpoints."""
    stream = SotwStream(snapshot(resource(CDS, "a", "1")))
    first = sotw(stream.on_request(SotwRequest(CDS)))
    second = sotw(stream.on_snapshot(snapshot(resource(CDS, "b", "1"))))
    assert second.resources == (resource(CDS, "b", "1"),)
    assert stream.on_request(sotw_ack(first)) == []
    assert stream.on_request(sotw_ack(second)) == [Acked(CDS)]
    assert stream.settled


def test_listeners_wait_for_their_clusters() -> None:
    stream = connected("1")
    events = stream.on_snapshot(full("2"))
    assert responses(events) == [("CDS", ["c"], [])]
    assert responses(stream.on_request(sotw_ack(sotw(events)))) == [("LDS", ["l"], [])]


def test_clusters_are_removed_after_their_listeners_let_go() -> None:
    stream = connected("1")
    events = stream.on_snapshot(full("2", without_cluster=True))
    assert responses(events) == [("LDS", ["l"], [])]
    assert responses(stream.on_request(sotw_ack(sotw(events)))) == [("CDS", [], [])]


def test_a_cluster_stays_in_responses_as_long_as_a_refused_listener_may_use_it() -> None:
    stream = connected("1")
    events = stream.on_snapshot(full("2", without_cluster=True))
    assert responses(stream.on_request(sotw_nack(sotw(events)))) == []
    more = snapshot(resource(LDS, "l", "2"), resource(CDS, "new"))
    assert responses(stream.on_snapshot(more)) == [("CDS", ["c", "new"], [])]


def test_a_cluster_that_was_taken_away_does_not_come_back_for_a_listener_that_is_new() -> None:
    """Its endpoints would not come, and Envoy would wait for them."""
    stream = SotwStream(snapshot(resource(CDS, "c", "1", (EDS, "c")), resource(EDS, "c")))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(CDS)))))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(EDS, names=("c",)))), "c"))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(LDS)))))
    removal = stream.on_snapshot(snapshot())
    assert responses(removal) == [("CDS", [], [])]
    assert responses(stream.on_snapshot(snapshot(resource(LDS, "l")))) == []
    assert responses(stream.on_request(sotw_ack(sotw(removal)))) == [("LDS", ["l"], [])]


def test_changed_clusters_get_their_endpoints_again() -> None:
    """They wait for them, and Envoy does not ask."""
    stream = SotwStream(snapshot(resource(CDS, "c", "1", (EDS, "c")), resource(EDS, "c")))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(CDS)))))
    stream.on_request(sotw_ack(sotw(stream.on_request(SotwRequest(EDS, names=("c",)))), "c"))
    after = snapshot(resource(CDS, "c", "2", (EDS, "c")), resource(EDS, "c"))
    assert responses(stream.on_snapshot(after)) == [("CDS", ["c"], []), ("EDS", ["c"], [])]


def test_a_reconnecting_client_gets_the_endpoints_of_changed_clusters_again() -> None:
    current = snapshot(resource(CDS, "c", "2", (EDS, "c")), resource(EDS, "c"))
    had = sotw(SotwStream(current).on_request(SotwRequest(EDS, names=("c",))))
    stream = SotwStream(current)
    stream.on_request(SotwRequest(CDS, version="old"))
    assert responses(stream.on_request(SotwRequest(EDS, names=("c",), version=had.version))) == [("EDS", ["c"], [])]


def test_a_type_that_is_not_served_is_left_waiting() -> None:
    assert SotwStream(snapshot()).on_request(SotwRequest("type.googleapis.com/nothing")) == []


def test_a_client_cannot_make_the_server_remember_without_bound() -> None:
    many = tuple(str(number) for number in range(MAX_NAMES + 1))
    assert isinstance(SotwStream(snapshot()).on_request(SotwRequest(EDS, names=many))[0], ProtocolError)
