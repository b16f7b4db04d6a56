"""The property that holds Picket together: for random policies and requests, `policy.evaluate` and a real Envoy agree.

One Envoy stands before an application with an HTTP port, a port whose protocol is found by inspection, a TCP port and one
whose server speaks first. Each example publishes a policy and sends a batch of requests; the application counts what it got,
and the access log has to name each denial as `evaluate` does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Outcome, Request, WouldDeny, evaluate
from controlplane.policy.rules import AddressSource, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds.tls import ALPN, ALPN_HTTP
from tests.controlplane.policy.strategies import MATCHES
from tests.harness.application import GREETING, Application
from tests.harness.callers import HTTP2_ANSWERS, Answer, call, http1, http2
from tests.harness.envoy import EnvoyUnderTest, envoy_under_test

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = ServiceName("shop", "target")
HTTP, AUTO, TCP, SILENT = 18080, 18081, 18379, 18306
PORTS = (Port(HTTP, "http", HTTP), Port(AUTO, "auto", AUTO), Port(TCP, "redis", TCP), Port(SILENT, "mysql", SILENT))
PEERS = [WorkloadId("shop", name) for name in ("front", "cart", "shady")]
#: An address of loopback of our own, so that several test processes do not meet.
_OWN = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250 + 1}"
SIDECAR, APPLICATION = f"{_OWN}.1", f"{_OWN}.2"
NETWORKS = [AddressSource(cidr) for cidr in ("127.1.2.3/32", "127.1.2.0/24", "127.1.0.0/16", "127.2.0.0/15", "0.0.0.0/0", "::/0")]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request or connection. ``peer`` has a certificate; without one the connection is plaintext, from ``address``."""

    port: int
    peer: WorkloadId | None
    address: str
    kind: str  # http1, http2 or tcp
    method: str = ""
    target: str = ""


SEGMENTS = st.sampled_from(
    ["a", "b", "c", "1", "A", "shop.Cart", "Get", "", ".", "..", "%2e%2e", "..;", "%2e%2e;x", ".%2E", "%2F", "%2f..", "a%5cb", "\\",
     "%61", "~", "*", "{x}", "a;v=1", "%20", "%25", "%252f", "a.b", "a*", ":", "@", "%3f", "%23", "+", "!"]
)  # fmt: skip
ORDINARY = st.sampled_from(["/", "/a", "/a/b", "/b", "/a/1/c", "/shop.Cart/Get", "/a.b", "/x", "/a/x/c"])
TARGETS = st.builds(
    lambda path, query, form: form + path + query,
    ORDINARY | st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "", "", "?", "?q=1", "?/../b", "?a%2Fb"]),
    st.sampled_from(["", "", "", "", "http://elsewhere.test"]),
)
METHODS = st.sampled_from(["GET", "GET", "POST", "DELETE", "get", "BREW", "OPTIONS", "HEAD"])
ADDRESSES = st.sampled_from(["127.1.2.3", "127.1.2.77", "127.1.9.9", "127.2.0.1", "127.3.0.1", "127.4.0.1"])


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    kind = draw(st.sampled_from(["http1", "http1", "http1", "http2", "tcp", "tcp"]))
    port = draw(st.sampled_from([HTTP, AUTO] if kind != "tcp" else [AUTO, TCP, SILENT]))
    # A plaintext caller that stays silent costs a second of waiting for its first bytes; it has a test of its own.
    peer = draw(st.sampled_from(PEERS) if port == SILENT else st.sampled_from([*PEERS, *PEERS, None, None]))
    address = draw(ADDRESSES) if peer is None else "127.9.9.9"
    if kind == "tcp":
        return Attempt(port, peer, address, kind)
    target = draw(TARGETS)
    return Attempt(port, peer, address, kind, draw(METHODS), target if kind == "http1" else target.removeprefix("http://elsewhere.test"))


RULES = st.builds(
    Rule,
    st.sampled_from(PEERS) | st.sampled_from(NETWORKS),
    st.sampled_from([HTTP, HTTP, AUTO, TCP, SILENT]),
    st.lists(MATCHES, max_size=3).map(tuple),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    revision = draw(st.integers(1, 99))
    listed = ServicePolicy(TARGET, tuple(draw(st.lists(RULES, max_size=10))), draw(st.integers(1, revision)))
    mode = draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT, Mode.LEARN, Mode.QUARANTINE]))
    barred = draw(st.lists(st.sampled_from(PEERS), max_size=1))
    modes = {TARGET: mode} | {ServiceName(*peer): Mode.QUARANTINE for peer in barred}
    return Policy(revision, {TARGET: listed}, modes)


@dataclass
class World:
    """The Envoy, and the application behind it by port."""

    envoy: EnvoyUnderTest
    applications: dict[int, Application]
    attempts: int = 0
    log_position: int = 0

    def begin(self) -> None:
        """Forget what was before."""
        for application in self.applications.values():
            application.forget()
        self.log_position = len(self.envoy.log_lines())

    async def send(self, attempt: Attempt, marker: str) -> Answer:
        address, source = (SIDECAR, attempt.port), attempt.address
        alpn = ALPN_HTTP if attempt.port == AUTO and attempt.kind != "tcp" else ALPN
        tls = self.envoy.client_context(attempt.peer, alpn) if attempt.peer is not None else None
        if attempt.kind == "http1":
            return await call(address, http1(attempt.method, attempt.target, marker), source=source, tls=tls)
        if attempt.kind == "http2":
            return await call(address, http2(attempt.method, attempt.target, marker), source=source, tls=tls, enough=HTTP2_ANSWERS)
        text = b"" if attempt.port == SILENT else f"{marker}\n".encode()
        return await call(address, text, source=source, tls=tls, enough=(GREETING if attempt.port == SILENT else text,))

    async def lines(self, count: int) -> list[dict[str, Any]]:
        """What the log got since, once it has a line for each of so many connections."""
        for _ in range(300):
            found: list[dict[str, Any]] = self.envoy.log_lines()[self.log_position :]
            if len({line["id"] for line in found if line["type"].endswith("End") or line["k"] == "conn"}) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{count} connections were made, and the log tells of {len(found)} lines: {found}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    service = Service(TARGET, Kind.SERVICE, PORTS, (SIDECAR,), (SIDECAR,), APPLICATION, "explicit")
    topology = Topology.of([service])
    applications = {port.number: Application(port.number == SILENT) for port in PORTS}
    try:
        for port, application in applications.items():
            await application.start(APPLICATION, port)
        start = Policy(1, {TARGET: ServicePolicy(TARGET)}, {TARGET: Mode.ENFORCE})
        async with envoy_under_test(topology, service.workload, start) as envoy:
            yield World(envoy, applications)
    finally:
        for application in applications.values():
            await application.stop()


def judged(policy: Policy, attempt: Attempt, method: str, path: str) -> Outcome:
    """What `evaluate` says, of a request as Envoy saw it."""
    if attempt.kind == "tcp":
        method = path = ""
    return evaluate(policy, Request(TARGET, attempt.port, attempt.peer, attempt.address, method, path))


def check_http(policy: Policy, attempt: Attempt, answer: Answer, delivered: bool, line: dict[str, Any] | None) -> None:
    if line is None or line["path"] is None:
        # Not a request to Envoy: refused before it was one, or the connection was.
        assert not delivered, (attempt, line)
        outcome = judged(policy, attempt, attempt.method, attempt.target)
        if line is None:
            assert isinstance(outcome, Denied), (attempt, answer)
        return
    outcome = judged(policy, attempt, line["method"], line["path"])
    if line["detail"] != "via_upstream" and not line["detail"].startswith("rbac_access_denied"):
        assert not delivered, (attempt, line)
        assert "%" in attempt.target or "*" in attempt.target or "\\" in attempt.target, (attempt, line)
        return  # a path that Envoy takes for no path at all
    assert delivered == (not isinstance(outcome, Denied)), (attempt, outcome, line)
    assert line["peer"] == (None if attempt.peer is None else attempt.peer.uri("picket.test"))
    if isinstance(outcome, Denied):
        assert line["detail"] == f"rbac_access_denied_matched_policy[{outcome.deny_id}]"
        assert answer.status in {0, 403}
    check_shadow(outcome, line)


def check_shadow(outcome: Outcome, line: dict[str, Any]) -> None:
    """In audit the log says what would have been denied, and under which name; otherwise it says nothing of the kind."""
    if isinstance(outcome, WouldDeny):
        assert (line["shadow_result"], line["shadow"]) == ("denied", str(outcome.deny_id)), line
    elif isinstance(outcome, Allowed):
        assert line["shadow_result"] in {None, "allowed"}, line


def check_tcp(policy: Policy, attempt: Attempt, answer: Answer, delivered: bool, lines: list[dict[str, Any]]) -> None:
    outcome = judged(policy, attempt, "", "")
    assert delivered == (not isinstance(outcome, Denied)), (attempt, outcome, answer, lines)
    if isinstance(outcome, Denied):
        assert answer.body == b"", (attempt, answer)
    assert lines, attempt
    line = lines[-1]
    if isinstance(outcome, Denied) and attempt.peer is not None:
        assert line["peer"] == attempt.peer.uri("picket.test")
        assert "SAN" in line["fail"], line
    elif isinstance(outcome, Denied):
        assert line["chain"] == str(outcome.deny_id), line
    elif attempt.port != SILENT:
        check_shadow(outcome, line)


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes on a real Envoy; the messages tell enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(policy=policies(), batch=st.lists(attempts(), min_size=10, max_size=25))
async def test_evaluate_and_envoy_agree(world: World, policy: Policy, batch: list[Attempt]) -> None:
    await agree(world, policy, batch)


async def agree(world: World, policy: Policy, batch: list[Attempt]) -> None:
    """Publish, send, and hold what happened to `evaluate`."""
    # Plaintext connections are told apart in the log by where they came from.
    kept: dict[object, Attempt] = {}
    for attempt in batch:
        kept.setdefault(attempt if attempt.peer is not None else (attempt.port, attempt.address), attempt)
    batch = list(kept.values())
    await world.envoy.publish(policy)
    world.begin()
    markers = [f"case{world.attempts + index}.test" for index in range(len(batch))]
    world.attempts += len(batch)
    limit = asyncio.Semaphore(8)

    async def one(attempt: Attempt, marker: str) -> Answer:
        async with limit:
            return await world.send(attempt, marker)

    answers = await asyncio.gather(*(one(attempt, marker) for attempt, marker in zip(batch, markers, strict=True)))
    lines = await world.lines(len(batch))
    assert not any(answer.error == "timeout" for answer in answers), list(zip(batch, answers, strict=True))
    hosts = {received.host: received for a in world.applications.values() for received in a.requests}
    expected_connections = dict.fromkeys(world.applications, 0)
    expected_http2 = dict.fromkeys(world.applications, 0)
    for attempt, marker, answer in zip(batch, markers, answers, strict=True):
        if attempt.kind == "tcp":
            mine = [line for line in lines if line["k"] == "tcp" and _is_of(line, attempt)]
            sent = GREETING if attempt.port == SILENT else f"{marker}\n".encode()
            delivered = answer.body == sent if attempt.port == SILENT else world.applications[attempt.port].texts[sent] == 1
            check_tcp(policy, attempt, answer, delivered, mine)
            expected_connections[attempt.port] += delivered
            continue
        host = "elsewhere.test" if attempt.target.startswith("http://") and attempt.kind == "http1" else marker
        line = next((line for line in lines if line["k"] == "http" and line["host"] == marker), None)
        if host != marker:
            continue  # the host of an absolute target replaces the header: see the test of those
        if attempt.kind == "http2":
            delivered = any(head in answer.body for head in HTTP2_ANSWERS) and line is not None and line["detail"] == "via_upstream"
            expected_http2[attempt.port] += delivered
        else:
            delivered = marker in hosts
            if delivered:
                assert line is not None
                # The application sees the path that was decided on, and no other.
                assert hosts[marker].target.partition("?")[0] == line["path"], line
                assert hosts[marker].method == line["method"]
        check_http(policy, attempt, answer, delivered, line)
    for port, application in world.applications.items():
        assert application.http2_requests == expected_http2[port], port
        if port in {TCP, SILENT}:
            assert application.connections == expected_connections[port], (port, batch)


def _is_of(line: dict[str, Any], attempt: Attempt) -> bool:
    peer = None if attempt.peer is None else attempt.peer.uri("picket.test")
    return bool(line["local"].endswith(f":{attempt.port}") and line["peer"] == peer and (peer or line["remote"] == attempt.address))
