"""For random policies and connections, `policy.evaluate_egress` and a real Envoy agree on what a source's sidecar lets out.

Everything that can be dialled counts what it gets: services of the mesh, which ask for the source's certificate, declared
hosts outside, which are known by their names, and a host that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.policy.evaluate import Allowed, Denied, Request, WouldDeny, evaluate_egress, may_reach
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Service, ServiceName
from controlplane.topology.protocol import Handling, handling
from tests.controlplane.xds.outbound_world import (
    ANY,
    API,
    CACHE,
    DB,
    FEED,
    LEDGER,
    PLAIN,
    ROGUE,
    SERVICES,
    SOURCE,
    UNKNOWN,
    UNKNOWN_PORTS,
    WEB,
    Dial,
    OutboundWorld,
    outbound_world,
)
from tests.harness.application import GREETING
from tests.harness.callers import Answer
from tests.harness.namespace import missing

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=f"a network namespace needs {missing()}"),
]

OWN = ServiceName(*SOURCE)
NAMES = ["api.test", "API.test", "plain.test", "PLAIN.TEST", "rogue.test", "nobody.test", "10.99.3.1"]
PLACES = [(service.addresses[0], port.number) for service in SERVICES if service.addresses for port in service.ports]
#: Where no service of the topology is: a host that nobody knows, and where one really is whose name counts and not its address.
STRANGERS = [(UNKNOWN, 80), (UNKNOWN, 443), (UNKNOWN, 9000), (API.endpoints[0], 443)]
SAID = st.sampled_from(["http", "tls"])


METHODS = st.sampled_from(["GET", "GET", "POST", "OPTIONS", "BREW"])
FOLDERS = st.sampled_from(["/", "/", "/a/", "/a/b/", "/a//", "/a/../", "/a%2f/", "/%61/"])
PATHS = st.sampled_from(["", "/*", "/a/*", "/{x}", "/a/{x}", "/{x}/b/{y}", "/*/case*", "/x"])
MATCHES = st.builds(HttpMatch, st.sampled_from(["", "GET", "POST"]), PATHS)


def dial(place: tuple[str, int], kind: str, name: str = "", method: str = "GET", folder: str = "/") -> Dial:
    return Dial(place[0], place[1], kind, name, method, folder)


DIALS = st.one_of(
    st.builds(dial, st.sampled_from(STRANGERS), SAID, st.sampled_from(NAMES), METHODS, FOLDERS),
    st.builds(dial, st.sampled_from(PLACES), SAID, st.sampled_from(["x.test", "api.test", "plain.test"]), METHODS, FOLDERS),
    st.builds(dial, st.just((UNKNOWN, 80)), st.just("http"), st.just("plain.test"), METHODS, FOLDERS),
    st.builds(dial, st.just((FEED.addresses[0], 7100)), st.just("http"), st.just("x.test"), METHODS, FOLDERS),
    st.sampled_from([*PLACES, *((UNKNOWN, port) for port in UNKNOWN_PORTS)]).map(
        lambda place: dial(place, "silent" if place[1] == 3306 else "text")
    ),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    revision = draw(st.integers(1, 99))
    services = {}
    for service in SERVICES:
        ports = draw(st.sets(st.sampled_from([port.number for port in service.ports])))
        http = st.just(()) | st.lists(MATCHES, min_size=1, max_size=3).map(tuple)
        rules = tuple(Rule(SOURCE, port, draw(http)) for port in sorted(ports))
        services[service.name] = ServicePolicy(service.name, rules, revision)
    services[OWN] = ServicePolicy(OWN, (), 1, draw(st.integers(0, revision)))
    open_or_closed = st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.LEARN, Mode.AUDIT])
    modes = {service.name: draw(open_or_closed) for service in SERVICES if service is not ROGUE or draw(st.booleans())}
    modes[OWN] = draw(st.sampled_from([*Mode, Mode.ENFORCE, Mode.LEARN]))
    for name in draw(st.lists(st.sampled_from([service.name for service in SERVICES]), max_size=1)):
        modes[name] = Mode.QUARANTINE
    return Policy(revision, services, modes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outbound() -> AsyncIterator[OutboundWorld]:
    async with outbound_world() as world:
        yield world


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to become of a connection: where it arrives, if anywhere, and the name under which the log tells it."""

    arrives: tuple[str, int] | None
    reported: str = ""


def meant(dial: Dial, policy: Policy) -> tuple[Service, int] | None:
    """The service and port that a connection is for, as the control plane knows them.

    A sidecar that drops what it does not know is not told the addresses of what it may not reach: there, only names count.
    """
    told = policy.mode(OWN) in {Mode.LEARN, Mode.AUDIT}
    for service in SERVICES:
        if dial.address in service.addresses and service.port(dial.port):
            reachable = may_reach(policy, SOURCE, service.name)
            if told or reachable is None or dial.port in reachable:
                return service, dial.port
    for service in (API, ROGUE, PLAIN):
        (port,) = service.ports
        kind = "http" if port.protocol == "http" else "tls"
        if (dial.kind, dial.port, dial.name.lower()) == (kind, port.number, service.name.name.lower()):
            return service, port.number
    return None


def fate(policy: Policy, dial: Dial) -> Fate:
    """By `evaluate_egress`: as of the service that it is for, or of a host that nobody declared."""
    found = meant(dial, policy)
    if found is None:
        arrives, request, meshed = (
            (dial.address, dial.port),
            Request(ServiceName("external", dial.address), dial.port, SOURCE),
            False,
        )
    else:
        service, number = found
        port = service.port(number)
        assert port is not None
        arrives, request, meshed = (service.endpoints[0], port.target), asked(dial, service, number), service.meshed
    match evaluate_egress(policy, request, sees_requests=not meshed):
        case Denied(deny_id):
            return Fate(None, str(deny_id))
        case WouldDeny(deny_id):
            return Fate(arrives, f"would-{deny_id}")
        case Allowed():
            return Fate(arrives)


def asked(dial: Dial, service: Service, number: int) -> Request:
    """What the source's sidecar sees of it: a request where it looks into what is sent, and elsewhere a connection."""
    port = service.port(number)
    assert port is not None
    seen = dial.kind == "http" and handling(port.protocol) is not Handling.OPAQUE
    return Request(service.name, number, SOURCE, "", *((dial.method, f"{dial.folder}case") if seen else ()))


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes on a real Envoy; the messages tell enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(policy=policies(), dials=st.lists(DIALS, min_size=10, max_size=25))
async def test_evaluate_egress_and_envoy_agree(outbound: OutboundWorld, policy: Policy, dials: list[Dial]) -> None:
    await agree(outbound, policy, dials)


async def agree(world: OutboundWorld, policy: Policy, dials: list[Dial]) -> None:
    """Publish, dial, and hold what happened to `evaluate_egress`."""
    dials = list({d if d.kind == "http" else (d.address, d.port, d.name if d.kind == "tls" else ""): d for d in dials}.values())
    await world.envoy.publish(policy)
    world.begin()
    markers = [f"case-{world.attempts + index}-" for index in range(len(dials))]
    world.attempts += len(dials)
    answers = await asyncio.gather(*(world.dial(dial, marker) for dial, marker in zip(dials, markers, strict=True)))
    lines = await world.lines(len(dials))
    for dial, marker, answer in zip(dials, markers, answers, strict=True):
        wanted = fate(policy, dial)
        requests = [line for line in lines if line["k"] == "http" and line["path"] == f"{dial.folder}{marker}"]
        mine = requests or [line for line in lines if _is_of(line, dial)]
        _check(world, policy, dial, marker, answer, wanted, mine)


def _check(
    world: OutboundWorld, policy: Policy, dial: Dial, marker: str, answer: Answer, wanted: Fate, lines: list[dict[str, Any]]
) -> None:
    told = (policy, dial, wanted, answer, lines)
    assert answer.error != "timeout", told
    found = meant(dial, policy)
    protocol = found[0].port(found[1]) if found else None
    if protocol is not None and protocol.protocol == "http" and dial.kind != "http":
        assert world.reached(marker) == [], told  # not HTTP, so it goes nowhere
        return
    if dial.kind == "silent" or (wanted.arrives is not None and wanted.arrives[1] == 3306):
        assert answer.body.startswith(GREETING) == (wanted.arrives is not None), told
    else:
        assert world.reached(marker) == ([] if wanted.arrives is None else [wanted.arrives]), told
    if wanted.arrives is None and dial.kind != "http":
        assert answer.body == b"", told
    assert lines, told
    assert {name for line in lines for name in (line["chain"], line.get("route")) if name and "deny:" in name} == (
        {wanted.reported} if wanted.reported else set()
    ), told
    if wanted.reported and dial.kind == "http" and wanted.arrives is None and lines[0]["k"] == "http":
        assert (answer.status, lines[0]["host"]) == (403, dial.name), told
    if dial.kind == "tls" and dial.port != 3306:
        assert lines[0]["sni"] == (dial.name.lower() if not dial.name[0].isdigit() else None), told


def _is_of(line: dict[str, Any], dial: Dial) -> bool:
    if line["k"] != "tcp" or line["local"] != f"{dial.address}:{dial.port}":
        return False
    name = dial.name.lower() if dial.kind == "tls" and not dial.name[0].isdigit() and dial.port != 3306 else None
    return bool(line["sni"] == name)


@pytest.mark.parametrize(
    "dial",
    [
        Dial(WEB.addresses[0], 80, "http", "x.test"),
        Dial(CACHE.addresses[0], 6379, "text"),
        Dial(DB.addresses[0], 3306, "silent"),
        Dial(ANY.addresses[0], 7000, "http", "x.test"),
        Dial(ANY.addresses[0], 7000, "text"),
    ],
)
async def test_nobody_can_pose_as_a_service(outbound: OutboundWorld, dial: Dial) -> None:
    """A server with a valid certificate of another workload, at the service's own address, gets nothing."""
    await outbound.envoy.publish(Policy(1, {}, {}, Mode.LEARN))
    found = meant(dial, Policy())
    assert found is not None
    service, number = found
    port = service.port(number)
    assert port is not None
    place = (service.endpoints[0], port.target)
    application = outbound.applications[place]
    honest, posing = outbound.envoy.server_context(service.workload), outbound.envoy.server_context(LEDGER.workload)
    for context, arrives in ((posing, False), (honest, True)):
        await application.stop()
        application.forget()
        await application.start_on(outbound.inside.listen(*place), context)
        marker = f"pose-{dial.port}-{dial.kind}-{arrives}"
        answer = await outbound.dial(dial, marker)
        if dial.kind == "silent":
            assert answer.body.startswith(GREETING) is arrives
        else:
            assert outbound.reached(marker) == ([place] if arrives else [])


async def test_an_approval_lets_a_waiting_application_through_without_closing_others(outbound: OutboundWorld) -> None:
    """Another upstream is another chain: the listener and its connections stay."""
    modes = dict.fromkeys((service.name for service in SERVICES), Mode.ENFORCE) | {OWN: Mode.ENFORCE}
    listed = {CACHE.name: ServicePolicy(CACHE.name, (Rule(SOURCE, 6379),), 1)}
    before = Policy(1, listed, modes)
    await outbound.envoy.publish(before)
    connected = await outbound.inside.connect(CACHE.addresses[0], 6379)
    reader, writer = await asyncio.open_connection(sock=connected)
    try:
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
        denied = await outbound.dial(Dial(DB.addresses[0], 3306, "silent"), "x")
        assert denied.body == b""
        services = listed | {DB.name: ServicePolicy(DB.name, (Rule(SOURCE, 3306),), 2), OWN: ServicePolicy(OWN, (), 0, 2)}
        await outbound.envoy.publish(replace(before, revision=2, services=services))
        allowed = await outbound.dial(Dial(DB.addresses[0], 3306, "silent"), "x")
        assert allowed.body.startswith(GREETING)
        await asyncio.sleep(outbound.envoy.drain_seconds + 0.5)  # a drain would have ended it by now
        writer.write(b"after\n")
        assert await reader.readline() == b"after\n"
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("mode", [Mode.LEARN, Mode.AUDIT])
async def test_who_dials_the_listener_itself_is_closed(outbound: OutboundWorld, mode: Mode) -> None:
    """Where unknown hosts pass, Envoy would call itself without end."""
    await outbound.envoy.publish(Policy(1, {}, {OWN: mode}))
    for address in ("127.0.0.1", UNKNOWN):
        answer = await outbound.dial(Dial(address, 15001, "text"), "loop")
        assert answer.body == b""
        assert answer.error != "timeout"
