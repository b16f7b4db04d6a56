"""The property that holds Picket together: for random policies and requests, `policy.evaluate` and a real Envoy agree.

Each example publishes a policy and sends a batch of requests; the application counts what it got, and the access log has to
name each denial as `evaluate` does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.policy.evaluate import Allowed, Denied, Outcome, Request, WouldDeny, evaluate
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule
from tests.controlplane.policy.strategies import MATCHES
from tests.controlplane.xds.inbound_world import (
    AUTO,
    HTTP,
    PEERS,
    SILENT,
    TARGET,
    TCP,
    Attempt,
    InboundWorld,
    policy,
)
from tests.harness.application import GREETING
from tests.harness.callers import HTTP2_ANSWERS, Answer
from tests.harness.envoy import TRUST_DOMAIN

pytestmark = pytest.mark.asyncio(loop_scope="module")

NETWORKS = [AddressSource(cidr) for cidr in ("127.1.2.3/32", "127.1.2.0/24", "127.1.0.0/16", "127.2.0.0/15", "0.0.0.0/0", "::/0")]
SEGMENTS = st.sampled_from(
    ["a", "b", "c", "1", "A", "shop.Cart", "Get", "", ".", "..", "%2e%2e", "..;", "%2e%2e;x", ".%2E", "%2F", "%2f..", "a%5cb", "\\",
     "%61", "~", "*", "{x}", "a;v=1", "%20", "%25", "%252f", "a.b", "a*", ":", "@", "%3f", "%23", "+", "!"]
)  # fmt: skip
ORDINARY = st.sampled_from(["/", "/a", "/a/b", "/b", "/a/1/c", "/shop.Cart/Get", "/a.b", "/x", "/a/x/c", "/a//b"])
TARGETS = st.builds(
    lambda path, query: path + query,
    ORDINARY | st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "", "", "?", "?q=1", "?/../b", "?a%2Fb"]),
)
METHODS = st.sampled_from(["GET", "GET", "GET", "GET", "POST", "DELETE", "get", "BREW", "OPTIONS", "HEAD"])
ADDRESSES = st.sampled_from(["127.1.2.3", "127.1.2.77", "127.1.9.9", "127.2.0.1", "127.3.0.1", "127.4.0.1"])
KINDS = {
    "http1": [HTTP, AUTO],
    "http2": [HTTP, AUTO],
    "tcp": [AUTO, TCP, SILENT],
    "smuggled": [AUTO],
    "tls": [HTTP, AUTO, TCP, SILENT],
}


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    kind = draw(st.sampled_from(["http1", "http1", "http1", "http1", "http2", "tcp", "smuggled", "tls"]))
    port = draw(st.sampled_from(KINDS[kind]))
    peer = draw(st.sampled_from([*PEERS, *PEERS, None, None]))
    if kind == "tls":
        peer = None
    elif kind == "smuggled" or (kind == "tcp" and port == SILENT):
        # A plaintext caller that stays silent costs a second of waiting for its first bytes; it has a test of its own.
        peer = draw(st.sampled_from(PEERS))
    address = draw(ADDRESSES) if peer is None else "127.9.9.9"
    if kind in {"tcp", "tls"}:
        return Attempt(port, peer, address, kind)
    return Attempt(port, peer, address, kind, draw(METHODS), draw(TARGETS))


SOURCES = st.sampled_from(PEERS) | st.sampled_from(PEERS) | st.sampled_from(NETWORKS)
PATTERNS = st.builds(
    HttpMatch, st.sampled_from(["", "", "GET"]), st.sampled_from(["/*", "/a/*", "/a*", "/{x}", "/{x}/{y}", "/a/{id}/c", "/*/b"])
)
RULES = st.builds(Rule, SOURCES, st.sampled_from([AUTO, TCP, SILENT]), st.just(()) | st.lists(MATCHES, max_size=2).map(tuple))
SOME = st.lists(MATCHES | PATTERNS | PATTERNS, min_size=1, max_size=3).map(tuple)
HTTP_RULES = st.builds(Rule, SOURCES, st.sampled_from([HTTP, AUTO]), SOME)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    revision = draw(st.integers(1, 99))
    rules = draw(st.lists(RULES | HTTP_RULES | HTTP_RULES, max_size=12))
    mode = draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT, Mode.LEARN, Mode.QUARANTINE]))
    return policy(*rules, mode=mode, revision=revision, barred=tuple(draw(st.lists(st.sampled_from(PEERS), max_size=1))))


@settings(
    max_examples=120,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes on a real Envoy; the messages tell enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(wanted=policies(), batch=st.lists(attempts(), min_size=20, max_size=40))
async def test_evaluate_and_envoy_agree(inbound: InboundWorld, wanted: Policy, batch: list[Attempt]) -> None:
    await agree(inbound, wanted, batch)


@pytest.mark.parametrize("mode", Mode)
async def test_evaluate_and_envoy_agree_on_callers_without_mesh_tls_that_wait_for_the_server(
    inbound: InboundWorld, mode: Mode
) -> None:
    """The listener waits a second for their first bytes; a denied one hears nothing, and the application neither."""
    listed = (Rule(AddressSource("127.1.0.0/16"), SILENT), Rule(PEERS[0], SILENT))
    silent = [Attempt(SILENT, None, address, "tcp") for address in ("127.1.2.3", "127.1.9.9", "127.2.0.1", "127.3.0.1")]
    await agree(inbound, policy(*listed, mode=mode, revision=3), silent)


async def agree(world: InboundWorld, wanted: Policy, batch: list[Attempt]) -> None:
    """Publish, send, and hold what happened to `evaluate`."""
    batch = _told_apart(batch)
    await world.envoy.publish(wanted)
    world.begin()
    markers = world.new_markers(len(batch))
    limit = asyncio.Semaphore(8)

    async def one(attempt: Attempt, marker: str) -> Answer:
        async with limit:
            return await world.send(attempt, marker)

    answers = await asyncio.gather(*(one(attempt, marker) for attempt, marker in zip(batch, markers, strict=True)))
    assert not any(answer.error == "timeout" for answer in answers), list(zip(batch, answers, strict=True))
    told = [marker for attempt, marker, answer in zip(batch, markers, answers, strict=True) if attempt.is_http and answer.body]
    lines = await world.lines(len(batch), told)
    delivered = Counter[tuple[int, str]]()
    for attempt, marker, answer in zip(batch, markers, answers, strict=True):
        if attempt.is_http:
            line = next((line for line in lines if line["k"] == "http" and line["host"] == marker), None)
            reached = _http_reached(world, attempt, marker, answer, line)
            check_http(wanted, attempt, answer, line, reached=reached)
        else:
            reached = _bytes_reached(world, attempt, marker, answer)
            mine = [line for line in lines if line["k"] == "tcp" and _is_of(line, attempt, marker)]
            check_bytes(wanted, attempt, answer, mine, reached=reached)
        delivered[attempt.port, attempt.kind] += reached
    for port, application in world.applications.items():
        assert application.http2_requests == delivered[port, "http2"], port
        if port in {TCP, SILENT}:
            # One connection for each that was let in, and none for the others.
            assert application.connections == delivered[port, "tcp"] + delivered[port, "tls"], (wanted, port, batch)


def _told_apart(batch: list[Attempt]) -> list[Attempt]:
    """Plaintext connections of one port are told apart in the log by where they come from."""
    kept: dict[object, Attempt] = {}
    for attempt in batch:
        kept.setdefault(attempt if attempt.peer is not None else (attempt.port, attempt.address), attempt)
    return list(kept.values())


def _http_reached(world: InboundWorld, attempt: Attempt, marker: str, answer: Answer, line: dict[str, Any] | None) -> bool:
    if attempt.kind == "http2":
        return any(head in answer.body for head in HTTP2_ANSWERS) and line is not None and line["detail"] == "via_upstream"
    received = next((r for r in world.applications[attempt.port].requests if r.host == marker), None)
    if received is not None:
        # The application sees the method and path that were decided on, and no others.
        assert line is not None
        assert (received.method, received.target.partition("?")[0]) == (line["method"], line["path"])
    return received is not None


def _bytes_reached(world: InboundWorld, attempt: Attempt, marker: str, answer: Answer) -> bool:
    application = world.applications[attempt.port]
    if attempt.kind == "smuggled":
        return any(received.host == marker for received in application.requests)
    if attempt.port == SILENT:
        return answer.body.startswith(GREETING)
    # What was sent holds the marker: as a line, or as the server's name.
    texts = [text for text in application.texts if marker.encode() in text]
    assert answer.body in {b"", *texts}, (attempt, answer, texts)
    return len(texts) == 1


def judged(wanted: Policy, attempt: Attempt, method: str = "", path: str = "") -> Outcome:
    """What `evaluate` says, of a request as Envoy saw it."""
    return evaluate(wanted, Request(TARGET, attempt.port, attempt.peer, attempt.address, method, path))


def check_http(wanted: Policy, attempt: Attempt, answer: Answer, line: dict[str, Any] | None, *, reached: bool) -> None:
    if line is None:
        # Not a request to Envoy: the connection was refused.
        assert not reached
        assert isinstance(judged(wanted, attempt, attempt.method, attempt.target), Denied), (wanted, attempt, answer)
        return
    outcome = judged(wanted, attempt, line["method"], line["path"])
    if line["detail"] != "via_upstream" and not line["detail"].startswith("rbac_access_denied"):
        assert not reached, (attempt, line)
        assert line["detail"] == "path_normalization_failed", (attempt, line)
        return  # a path that Envoy takes for no path at all
    assert reached == (not isinstance(outcome, Denied)), (wanted, attempt, outcome, line)
    assert line["peer"] == (None if attempt.peer is None else attempt.peer.uri(TRUST_DOMAIN))
    if isinstance(outcome, Denied):
        assert line["detail"] == f"rbac_access_denied_matched_policy[{outcome.deny_id}]", (wanted, attempt, line)
        assert answer.status in {0, 403}
    check_shadow(outcome, line)


def check_bytes(wanted: Policy, attempt: Attempt, answer: Answer, lines: list[dict[str, Any]], *, reached: bool) -> None:
    outcome = judged(wanted, attempt)
    assert reached == (not isinstance(outcome, Denied)), (wanted, attempt, outcome, answer, lines)
    assert lines, attempt
    line = lines[-1]
    if isinstance(outcome, Denied):
        assert answer.body == b"", (attempt, answer)
        if attempt.peer is None:
            assert line["chain"] == str(outcome.deny_id), (wanted, attempt, line)
        else:
            assert line["peer"] == attempt.peer.uri(TRUST_DOMAIN)
            assert "SAN" in line["fail"], (wanted, attempt, line)
    elif attempt.port != SILENT or attempt.kind == "tls":
        check_shadow(outcome, line)


def check_shadow(outcome: Outcome, line: dict[str, Any]) -> None:
    """In audit the log says what would have been denied, and under which name; otherwise it says nothing of the kind."""
    if isinstance(outcome, WouldDeny):
        assert (line["shadow_result"], line["shadow"]) == ("denied", str(outcome.deny_id)), line
    elif isinstance(outcome, Allowed):
        assert line["shadow_result"] in {None, "allowed"}, line


def _is_of(line: dict[str, Any], attempt: Attempt, marker: str) -> bool:
    if not line["local"].endswith(f":{attempt.port}"):
        return False
    if attempt.peer is None:
        # A server's name is in the line unless it came too late: on the silent port Envoy waits a second for it.
        named = {marker, None} if attempt.port == SILENT else {marker}
        return bool(line["remote"] == attempt.address and line["sni"] in (named if attempt.kind == "tls" else {None}))
    return bool(line["peer"] == attempt.peer.uri(TRUST_DOMAIN))
