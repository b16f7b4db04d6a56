"""Methods and paths toward hosts outside the mesh by way of loopback listeners (explicit capture), on a real Envoy."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, UpstreamListener
from tests.harness.application import Application
from tests.harness.callers import Answer, call, http1
from tests.harness.envoy import EnvoyUnderTest, envoy_under_test

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = WorkloadId("shop", "source")
OWN = ServiceName(*SOURCE)
#: Addresses of loopback of our own, so that several test processes do not meet.
_OWN = f"127.{192 + os.getpid() % 60}.{os.getpid() // 60 % 250 + 1}"
LISTENING, OUTSIDE = f"{_OWN}.1", f"{_OWN}.2"
#: What is declared of the host at each port: HTTP, to be found by inspection, and bytes.
PROTOCOLS = {18080: "http", 18081: "auto", 18379: "redis"}
HOSTS = {port: ServiceName("shop", f"{protocol}.test") for port, protocol in PROTOCOLS.items()}
LISTED = (HttpMatch("GET", "/public/*"), HttpMatch("POST", "/users/{id}"))


@dataclass(frozen=True, slots=True)
class World:
    """The Envoy, and the hosts by port."""

    envoy: EnvoyUnderTest
    hosts: dict[int, Application]

    async def publish(self, mode: Mode, http: tuple[HttpMatch, ...] = LISTED) -> None:
        """The same rule for each host, in one mode everywhere."""
        services = {name: ServicePolicy(name, (Rule(SOURCE, port, http),), 2) for port, name in HOSTS.items()}
        services[OWN] = ServicePolicy(OWN, (), 0, 4)
        await self.envoy.publish(Policy(4, services, dict.fromkeys((OWN, *HOSTS.values()), mode)))
        for application in self.hosts.values():
            application.forget()
        self.envoy.new_log_lines()

    async def send(self, port: int, said: bytes) -> Answer:
        """By way of the sidecar."""
        return await call((LISTENING, port), said, enough=(b"\r\n\r\n", b"text\n"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    listeners = tuple(UpstreamListener(name, port, LISTENING, port) for port, name in HOSTS.items())
    hosts = [
        Service(name, Kind.EXTERNAL, (Port(port, PROTOCOLS[port], port),), (OUTSIDE,), (OUTSIDE,)) for port, name in HOSTS.items()
    ]
    source = Service(OWN, Kind.SERVICE, capture="explicit", upstream_listeners=listeners)
    async with AsyncExitStack() as stack:
        applications = {port: Application() for port in HOSTS}
        for port, application in applications.items():
            stack.push_async_callback(application.stop)
            await application.start(OUTSIDE, port)
        running = envoy_under_test(Topology.of([source, *hosts]), SOURCE, Policy())
        yield World(await stack.enter_async_context(running), applications)


@pytest.mark.parametrize("port", [18080, 18081])
@pytest.mark.parametrize(
    ("method", "path", "listed"),
    [
        ("GET", "/public/a?b", True),
        ("POST", "/users/7", True),
        ("POST", "/public/a", False),
        ("GET", "/users/7", False),
        ("POST", "/users/7/x", False),
        ("GET", "/public/..%2fadmin", False),
        ("GET", "/public/../admin", False),
        ("OPTIONS", "/public/a", False),
    ],
)
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.AUDIT, Mode.LEARN])
async def test_only_listed_requests_leave(world: World, mode: Mode, port: int, method: str, path: str, *, listed: bool) -> None:
    await world.publish(mode)
    answer = await world.send(port, http1(method, path, HOSTS[port].name))
    passes = listed or mode is not Mode.ENFORCE
    assert [(request.method, request.target) for request in world.hosts[port].requests] == ([(method, path)] if passes else [])
    assert answer.status == (200 if passes else 403)
    assert (b"deny:shop/source@r4/egress" in answer.body) is not passes


@pytest.mark.parametrize("port", [18081, 18379])
@pytest.mark.parametrize(("mode", "passes"), [(Mode.ENFORCE, False), (Mode.AUDIT, True), (Mode.LEARN, True)])
async def test_a_rule_that_asks_for_requests_holds_no_connection(world: World, mode: Mode, port: int, *, passes: bool) -> None:
    await world.publish(mode)
    answer = await world.send(port, b"text\n")
    assert answer.body == (b"text\n" if passes else b"")
    assert dict(world.hosts[port].texts) == ({b"text\n": 1} if passes else {})


@pytest.mark.parametrize("port", list(HOSTS))
async def test_a_rule_without_requests_lets_all_of_them_out(world: World, port: int) -> None:
    await world.publish(Mode.ENFORCE, ())
    answer = await world.send(port, http1("DELETE", "/x", HOSTS[port].name) if port == 18080 else b"text\n")
    assert answer.status == 200 or answer.body == b"text\n"
