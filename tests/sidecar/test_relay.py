"""A playbook for the relay: what Envoy and the control plane say, what is passed on, kept, and answered alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest as FullRequest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from protos.picket.v1.xds_pb2 import Node, Resource
from sidecar import relay
from sidecar.actions import Accepted, Action, CloseUpstream, Refused, ToEnvoy, ToUpstream
from sidecar.lastgood import Resources
from sidecar.relay import CLUSTER, ENDPOINT, EXTENSION, LISTENER, UNSURE, Relay

Kind = TypeVar("Kind", bound=Action)


def body(name: str, version: str) -> bytes:
    return Resource(name=name, version=version).SerializeToString()


def kept(**by_type: dict[str, str]) -> Resources:
    """Last-good resources: ``CLUSTER={"a": "1"}``."""
    return {getattr(relay, kind): {name: body(name, version) for name, version in names.items()} for kind, names in by_type.items()}


def versions(held: Resources) -> dict[str, dict[str, str]]:
    """Last-good resources as type's constant -> name -> version, without empty types."""
    short = {getattr(relay, kind): kind for kind in ("CLUSTER", "ENDPOINT", "LISTENER", "ROUTE", "SECRET", "EXTENSION")}
    return {
        short[url]: {name: Resource.FromString(content).version for name, content in by_name.items()}
        for url, by_name in held.items()
        if by_name
    }


def ask(type_url: str, *names: str, first: bool = False, **initial: str) -> Request:
    request = Request(type_url=type_url, resource_names_subscribe=names, initial_resource_versions=initial)
    if first:
        request.node.CopyFrom(Node(id="sidecar~shop/cart~1", cluster="shop/cart", user_agent_name="envoy"))
    return request


def news(type_url: str, nonce: str, removed: Iterable[str] = (), **resources: str) -> Response:
    response = Response(type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, version in resources.items():
        response.resources.add(name=name, version=version)
    return response


def ack(sent: Response) -> Request:
    return Request(type_url=sent.type_url, response_nonce=sent.nonce)


def nack(sent: Response, message: str = "bad") -> Request:
    request = ack(sent)
    request.error_detail.message = message
    return request


def of(kind: type[Kind], actions: list[Action]) -> list[Kind]:
    return [action for action in actions if isinstance(action, kind)]


def to_envoy(actions: list[Action]) -> Response:
    """The one response to Envoy."""
    (sent,) = of(ToEnvoy, actions)
    return sent.response


def to_upstream(actions: list[Action]) -> Request:
    """The one request to the control plane."""
    (sent,) = of(ToUpstream, actions)
    return sent.request


def content(response: Response) -> dict[str, str]:
    return {resource.name: resource.version for resource in response.resources}


def connected(held: Resources | None = None) -> tuple[Relay, int]:
    """A relay with both streams, whose Envoy asked for all clusters and has none."""
    machine = Relay(held if held is not None else {})
    machine.on_envoy_opened()
    for sent in of(ToEnvoy, machine.on_envoy_request(ask(CLUSTER, first=True))):
        machine.on_envoy_request(ack(sent.response))
    stream, _ = machine.on_upstream_opened()
    return machine, stream


# -- the control plane is there ---------------------------------------------------------------------------------------


def test_envoys_subscription_goes_up_with_who_it_is() -> None:
    machine = Relay({})
    machine.on_envoy_opened()
    assert machine.on_envoy_request(ask(CLUSTER, first=True)) == []  # nobody to ask, and nothing kept
    _, actions = machine.on_upstream_opened()
    request = to_upstream(actions)
    assert (request.type_url, list(request.resource_names_subscribe), request.node.id) == (CLUSTER, [], "sidecar~shop/cart~1")
    second = to_upstream(machine.on_envoy_request(ask(ENDPOINT, "a")))
    assert (list(second.resource_names_subscribe), second.HasField("node")) == (["a"], False)


def test_news_is_passed_down_and_envoys_ack_goes_up_with_the_control_planes_nonce() -> None:
    machine, stream = connected()
    sent = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))
    assert content(sent) == {"a": "1"}
    actions = machine.on_envoy_request(ack(sent))
    assert of(Accepted, actions) == [Accepted(CLUSTER)]
    answer = to_upstream(actions)
    assert (answer.response_nonce, answer.HasField("error_detail")) == ("n1", False)


def test_only_what_envoy_acknowledged_is_kept() -> None:
    machine, stream = connected()
    sent = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1", b="1")))
    assert versions(machine.last_good) == {}
    machine.on_envoy_request(ack(sent))
    assert versions(machine.last_good) == {"CLUSTER": {"a": "1", "b": "1"}}
    sent = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n2", removed=["b"], a="2")))
    machine.on_envoy_request(ack(sent))
    assert versions(machine.last_good) == {"CLUSTER": {"a": "2"}}


def test_a_removal_in_the_newer_form_counts_too() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))))
    removal = Response(type_url=CLUSTER, nonce="n2")
    removal.removed_resource_names.add(name="a")
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, removal))))
    assert versions(machine.last_good) == {}


def test_a_nack_goes_up_and_the_last_good_stays() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))))
    bad = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n2", a="2")))
    actions = machine.on_envoy_request(nack(bad, "no such filter"))
    assert of(Refused, actions) == [Refused(CLUSTER, "no such filter", local=False)]
    answer = to_upstream(actions)
    assert (answer.response_nonce, answer.error_detail.message) == ("n2", "no such filter")
    assert versions(machine.last_good) == {"CLUSTER": {"a": "1"}}


def test_after_a_nack_envoy_is_given_the_last_good_again_because_it_may_have_taken_a_part() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1", b="1")))))
    bad = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n2", a="2")))
    again = to_envoy(machine.on_envoy_request(nack(bad)))
    assert content(again) == {"a": "1"}
    assert of(ToUpstream, machine.on_envoy_request(ack(again))) == []  # the control plane did not send it


def test_answers_that_arrive_late_for_an_older_upstream_stream_do_not_go_up() -> None:
    machine, stream = connected()
    sent = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))
    machine.on_upstream_closed(stream)
    _, actions = machine.on_upstream_opened()
    assert of(ToUpstream, actions) == []  # Envoy has not answered: what it has is not certain yet
    request = to_upstream(machine.on_envoy_request(ack(sent)))
    assert (request.response_nonce, dict(request.initial_resource_versions)) == ("", {"a": "1"})


def test_responses_of_an_older_stream_or_of_types_nobody_asked_for_are_dropped() -> None:
    machine, stream = connected()
    assert machine.on_upstream_response(stream, news(ENDPOINT, "n1", a="1")) == []
    machine.on_upstream_opened()
    assert machine.on_upstream_response(stream, news(CLUSTER, "n2", a="1")) == []


def test_subscriptions_and_their_ends_are_passed_on() -> None:
    machine, _stream = connected()
    machine.on_envoy_request(ask(ENDPOINT, "a", "b"))
    more = Request(type_url=ENDPOINT, resource_names_subscribe=["c"], resource_names_unsubscribe=["a"])
    passed = to_upstream(machine.on_envoy_request(more))
    assert (list(passed.resource_names_subscribe), list(passed.resource_names_unsubscribe)) == (["c"], ["a"])


# -- reconnects -------------------------------------------------------------------------------------------------------


def test_a_new_upstream_stream_hears_what_envoy_has_in_the_order_of_make_before_break() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))))
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(EXTENSION, "n2", allow="7")))))
    machine.on_envoy_request(ask(LISTENER))
    machine.on_upstream_closed(stream)
    _, actions = machine.on_upstream_opened()
    requests = [sent.request for sent in of(ToUpstream, actions)]
    assert [request.type_url for request in requests] == [CLUSTER, LISTENER, EXTENSION]
    assert [dict(request.initial_resource_versions) for request in requests] == [{"a": "1"}, {}, {"allow": "7"}]
    assert [list(request.resource_names_subscribe) for request in requests] == [[], [], ["allow"]]
    assert [request.HasField("node") for request in requests] == [True, False, False]


def test_wildcard_beside_names_is_said_aloud() -> None:
    machine = Relay({})
    machine.on_envoy_opened()
    machine.on_envoy_request(ask(CLUSTER, first=True))
    machine.on_envoy_request(ask(CLUSTER, "extra"))
    _, actions = machine.on_upstream_opened()
    assert list(to_upstream(actions).resource_names_subscribe) == ["*", "extra"]


def test_what_envoy_has_and_the_disk_has_not_is_asked_for_again() -> None:
    """Otherwise it would never be kept: the agent was away while Envoy was told, or the disk lost it."""
    machine = Relay(kept(CLUSTER={"a": "0"}))
    machine.on_envoy_opened()
    machine.on_upstream_opened()
    actions = machine.on_envoy_request(ask(CLUSTER, first=True, a="1", b="1"))
    assert dict(to_upstream(actions).initial_resource_versions) == {"a": UNSURE, "b": UNSURE}


def test_a_part_that_envoy_refused_is_not_claimed_after_a_reconnect() -> None:
    machine, stream = connected()
    bad = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))
    machine.on_envoy_request(nack(bad))
    _, actions = machine.on_upstream_opened()
    assert dict(to_upstream(actions).initial_resource_versions) == {"a": UNSURE}


def test_envoy_that_begins_anew_has_the_upstream_stream_begin_anew() -> None:
    machine, stream = connected()
    assert machine.on_envoy_opened() == [CloseUpstream()]
    assert machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")) == []
    assert machine.on_upstream_closed(stream) == []
    assert not machine.envoy_present


# -- the control plane is away ----------------------------------------------------------------------------------------


def test_a_restarted_envoy_comes_up_from_disk() -> None:
    machine = Relay(kept(CLUSTER={"a": "1"}, EXTENSION={"allow": "7", "old": "1"}, LISTENER={"in": "3"}))
    machine.on_envoy_opened()
    sent = to_envoy(machine.on_envoy_request(ask(CLUSTER, first=True)))
    assert content(sent) == {"a": "1"}
    assert machine.on_envoy_request(ack(sent)) == []
    assert content(to_envoy(machine.on_envoy_request(ask(LISTENER)))) == {"in": "3"}
    assert content(to_envoy(machine.on_envoy_request(ask(EXTENSION, "allow")))) == {"allow": "7"}


def test_with_nothing_on_disk_envoy_is_left_waiting() -> None:
    machine = Relay({})
    machine.on_envoy_opened()
    for request in (ask(CLUSTER, first=True), ask(LISTENER), ask(EXTENSION, "allow")):
        assert machine.on_envoy_request(request) == []


def test_an_empty_type_that_was_acknowledged_is_told_as_empty() -> None:
    """Envoy would wait for it; that there is none was the control plane's word."""
    machine = Relay({CLUSTER: {}})
    machine.on_envoy_opened()
    assert content(to_envoy(machine.on_envoy_request(ask(CLUSTER, first=True)))) == {}


def test_envoy_that_waits_when_the_control_plane_goes_is_answered_from_disk() -> None:
    machine = Relay(kept(EXTENSION={"allow": "7"}))
    machine.on_envoy_opened()
    machine.on_envoy_request(ask(CLUSTER, first=True))
    stream, _ = machine.on_upstream_opened()
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    assert content(to_envoy(machine.on_upstream_closed(stream))) == {"allow": "7"}


def test_nothing_is_told_twice_while_an_answer_is_on_its_way() -> None:
    machine = Relay(kept(EXTENSION={"allow": "7"}))
    machine.on_envoy_opened()
    assert len(of(ToEnvoy, machine.on_envoy_request(ask(EXTENSION, "allow", first=True)))) == 1
    assert machine.on_envoy_request(ask(EXTENSION, "more")) == []


def test_a_kept_resource_that_envoy_refuses_is_not_offered_again_and_again() -> None:
    machine = Relay(kept(CLUSTER={"a": "1"}))
    machine.on_envoy_opened()
    sent = to_envoy(machine.on_envoy_request(ask(CLUSTER, first=True)))
    actions = machine.on_envoy_request(nack(sent))
    assert of(Refused, actions) == [Refused(CLUSTER, "bad", local=True)]
    assert of(ToEnvoy, actions) == []
    stream, opened = machine.on_upstream_opened()
    assert dict(to_upstream(opened).initial_resource_versions) == {"a": UNSURE}
    better = to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="2")))
    machine.on_envoy_request(ack(better))
    assert versions(machine.last_good) == {"CLUSTER": {"a": "2"}}


def test_a_reload_of_a_dropped_name_is_answered_from_what_was_kept() -> None:
    """Envoy forgets an allow-list when its listener goes and asks again when the listener comes back."""
    machine, stream = connected()
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(EXTENSION, "n1", allow="7")))))
    machine.on_upstream_closed(stream)
    machine.on_envoy_request(Request(type_url=EXTENSION, resource_names_unsubscribe=["allow"]))
    assert content(to_envoy(machine.on_envoy_request(ask(EXTENSION, "allow")))) == {"allow": "7"}


# -- what is forgotten ------------------------------------------------------------------------------------------------


def test_what_envoy_let_go_of_is_forgotten_once_it_takes_more_news() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(EXTENSION, "n1", allow="7")))))
    machine.on_envoy_request(Request(type_url=EXTENSION, resource_names_unsubscribe=["allow"]))
    assert versions(machine.last_good) == {"EXTENSION": {"allow": "7"}}  # Envoy could be shutting down
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n2", a="1")))))
    assert versions(machine.last_good) == {"CLUSTER": {"a": "1"}}


def test_an_envoy_that_ends_leaves_everything_kept() -> None:
    machine, stream = connected()
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(EXTENSION, "n1", allow="7")))))
    machine.on_envoy_request(Request(type_url=EXTENSION, resource_names_unsubscribe=["allow"]))
    machine.on_envoy_closed()
    assert versions(machine.last_good) == {"EXTENSION": {"allow": "7"}}


def test_what_went_while_the_sidecar_was_away_is_forgotten_when_envoy_takes_the_whole() -> None:
    held = kept(CLUSTER={"a": "1", "gone": "1"})
    machine = Relay(held)
    machine.on_envoy_opened()
    stream, _ = machine.on_upstream_opened()
    machine.on_envoy_request(ask(CLUSTER, first=True))
    machine.on_envoy_request(ack(to_envoy(machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1")))))
    assert versions(machine.last_good) == {"CLUSTER": {"a": "1"}}


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_a_control_plane_that_sends_too_much_is_cut_off_and_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_RESOURCES_OF_A_TYPE", 2)
    machine, stream = connected()
    machine.last_good[EXTENSION] = {"allow": body("allow", "7")}
    machine.on_envoy_request(ask(EXTENSION, "allow"))
    actions = machine.on_upstream_response(stream, news(CLUSTER, "n1", a="1", b="1", c="1"))
    assert "more than 2 resources" in of(CloseUpstream, actions)[0].reason
    assert content(to_envoy(actions)) == {"allow": "7"}
    assert machine.on_upstream_response(stream, news(CLUSTER, "n2", a="2")) == []


@pytest.mark.parametrize("name", ["", "x" * 4097])
def test_resource_names_are_bounded(name: str) -> None:
    machine, stream = connected()
    (cut,) = machine.on_upstream_response(stream, news(CLUSTER, "n1", **{name: "1"}))
    assert isinstance(cut, CloseUpstream)
    assert cut.reason


def test_envoy_can_ask_for_so_many_types_only() -> None:
    machine, _ = connected()
    for number in range(relay.MAX_TYPES + 5):
        machine.on_envoy_request(ask(f"type/{number}", "a"))
    assert machine.on_envoy_request(ask("type/more", "a")) == []


def test_hunger_shows_until_the_control_plane_says_anything() -> None:
    machine = Relay({})
    hungry = [machine.starved]
    machine.on_envoy_opened()
    machine.on_envoy_request(ask(CLUSTER, first=True))
    hungry.append(machine.starved)  # there is nobody who could be late
    stream, _ = machine.on_upstream_opened()
    hungry.append(machine.starved)
    machine.on_upstream_response(stream, news(CLUSTER, "n1"))
    hungry.append(machine.starved)
    assert hungry == [False, False, True, False]


def test_envoys_version_is_known_once_it_told() -> None:
    machine = Relay({})
    assert machine.envoy_version == ""
    machine.on_envoy_opened()
    request = ask(CLUSTER, first=True)
    request.node.user_agent_build_version.version.major_number = 1
    request.node.user_agent_build_version.version.minor_number = 40
    full = FullRequest.FromString(request.SerializeToString())
    full.node.extensions.add(name="one of hundreds")
    full.node.user_agent_build_version.metadata["ssl.version"] = "BoringSSL"
    machine.on_envoy_request(Request.FromString(full.SerializeToString()))
    assert machine.envoy_version == "1.40.0"
    _, actions = machine.on_upstream_opened()
    passed = FullRequest.FromString(to_upstream(actions).SerializeToString())
    assert (len(passed.node.extensions), len(passed.node.user_agent_build_version.metadata)) == (0, 0)
    assert passed.node.user_agent_build_version.version.minor_number == 40


# -- whatever happens -------------------------------------------------------------------------------------------------

_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("news"), st.sampled_from("abc"), st.integers(1, 3)),
        st.tuples(st.just("removal"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.sampled_from(["ack", "ack", "ack", "nack", "close", "open", "restart"]), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@hypothesis_settings(max_examples=200)
@given(_EVENTS)
def test_whatever_happens_envoys_acks_are_what_is_kept_and_envoy_ends_with_what_the_control_plane_has(
    events: list[tuple[str, str, int]],
) -> None:
    """A model of both sides: a control plane that keeps the protocol, an Envoy that takes or refuses whole responses."""
    machine = Relay({})
    plane = _Plane()
    envoy = _Envoy(machine)
    envoy.start(plane)
    plane.connect(machine, envoy)
    for kind, name, version in events:
        if kind == "news":
            plane.current[name] = str(version)
            plane.push(machine, envoy)
        elif kind == "removal":
            plane.current.pop(name, None)
            plane.push(machine, envoy)
        elif kind in {"ack", "nack"}:
            envoy.answer(plane, good=kind == "ack")
        elif kind == "close":
            plane.disconnect(machine, envoy)
        elif kind == "open":
            plane.connect(machine, envoy)
        else:
            envoy.start(plane)
        assert versions(machine.last_good).get("CLUSTER", {}) == envoy.accepted
    # In the end everybody is there and well: Envoy gets what the control plane has.
    plane.connect(machine, envoy)
    for _ in range(20):
        envoy.answer(plane, good=True)
        plane.push(machine, envoy)
    assert envoy.has == plane.current
    assert versions(machine.last_good).get("CLUSTER", {}) == plane.current


class _Plane:
    def __init__(self) -> None:
        self.current: dict[str, str] = {}
        self.known: dict[str, str] = {}
        self.stream = 0
        self.asked = False
        self.waiting = ""
        self.nonces = 0

    def connect(self, machine: Relay, envoy: _Envoy) -> None:
        self.known, self.asked, self.waiting = {}, False, ""
        self.stream, actions = machine.on_upstream_opened()
        envoy.hear(actions, self)

    def disconnect(self, machine: Relay, envoy: _Envoy) -> None:
        stream, self.stream = self.stream, 0
        envoy.hear(machine.on_upstream_closed(stream), self)

    def on_request(self, request: Request, machine: Relay, envoy: _Envoy) -> None:
        first = not self.asked
        if first:
            self.known, self.asked = dict(request.initial_resource_versions), True
        elif request.response_nonce and request.response_nonce == self.waiting:
            self.waiting = ""
        self.push(machine, envoy, always=first)

    def push(self, machine: Relay, envoy: _Envoy, *, always: bool = False) -> None:
        changed = {name: version for name, version in self.current.items() if self.known.get(name) != version}
        removed = self.known.keys() - self.current.keys()
        if not self.stream or not self.asked or self.waiting or not (changed or removed or always):
            return
        self.nonces += 1
        self.waiting = f"n{self.nonces}"
        self.known = dict(self.current)
        envoy.hear(machine.on_upstream_response(self.stream, news(CLUSTER, self.waiting, removed, **changed)), self)


class _Envoy:
    def __init__(self, machine: Relay) -> None:
        self.machine = machine
        self.has: dict[str, str] = {}
        self.accepted: dict[str, str] = {}
        self.inbox: list[Response] = []

    def start(self, plane: _Plane) -> None:
        self.has, self.inbox = {}, []
        self.hear(self.machine.on_envoy_opened(), plane)
        self.hear(self.machine.on_envoy_request(ask(CLUSTER, first=True)), plane)

    def hear(self, actions: list[Action], plane: _Plane) -> None:
        for action in actions:
            if isinstance(action, ToEnvoy):
                self.inbox.append(Response.FromString(action.response.SerializeToString()))
            elif isinstance(action, ToUpstream):
                plane.on_request(action.request, self.machine, self)
            elif isinstance(action, CloseUpstream):
                plane.stream = 0

    def answer(self, plane: _Plane, *, good: bool) -> None:
        if not self.inbox:
            return
        response = self.inbox.pop(0)
        if good:
            for name in response.removed_resources:
                self.has.pop(name, None)
            self.has |= content(response)
            if not response.nonce.startswith("l:"):
                self.accepted = dict(self.has)
        self.hear(self.machine.on_envoy_request(ack(response) if good else nack(response)), plane)
