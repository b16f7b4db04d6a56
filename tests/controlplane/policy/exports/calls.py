"""The small world in which exports are compared: who calls what, as a cluster would see it, and what the policy says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.coverage import source_covers
from controlplane.policy.evaluate import Denied, Request, evaluate, may_reach
from controlplane.policy.exports.manifests import write_export
from controlplane.policy.exports.model import Effect, Export, Unsaid
from controlplane.policy.rules import AddressSource, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from tests.controlplane.policy.strategies import PORTS, SERVICES, WORKLOADS, policies


@dataclass(frozen=True, slots=True)
class Call:
    """One request or connection.

    ``source`` is ``None`` for a peer outside the cluster, which is known by its address; ``outside`` says the same of the
    destination, and ``destination_address`` is then its address, if it has one that is known.
    """

    source: WorkloadId | None
    address: str
    destination: ServiceName
    port: int
    pod_port: int
    method: str = ""
    path: str = ""
    outside: bool = False
    destination_address: str = ""

    @property
    def peer(self) -> WorkloadId | None:
        """The destination's workload; ``None`` outside the cluster."""
        return None if self.outside else WorkloadId(*self.destination)

    @property
    def request(self) -> Request:
        """As the policy sees it."""
        return Request(self.destination, self.port, self.source, self.address, self.method, self.path)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """The services of the small world; pods may listen elsewhere than clients dial, and on one port for several."""
    made = []
    for name in SERVICES:
        http, other = draw(st.sampled_from([(8080, 81), (80, 81), (8080, 8080)]))
        targets = {80: http, 81: other, 3306: 3306}
        made.append(Service(name, Kind.SERVICE, tuple(Port(port, "auto", target) for port, target in targets.items())))
    return Topology.of(made)


#: None of them could be read as another path.
PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/x/c", "/a//b", "/a/", "/shop.Cart/Get", "/a.b", "/axb"])
_HTTP = st.tuples(st.sampled_from(["GET", "POST", "DELETE"]), PATHS)


@st.composite
def calls(draw: st.DrawFn, topology: Topology) -> Call:
    """A call in the small world, by HTTP or not."""
    source = draw(st.sampled_from([*WORKLOADS, None]))
    name, port = draw(st.sampled_from(SERVICES)), draw(st.sampled_from(PORTS))
    declared = topology.services[name].port(port)
    method, path = draw(_HTTP | st.just(("", "")))
    address = draw(st.sampled_from(["127.0.0.1", "127.1.2.3", "::1", "9.9.9.9"])) if source is None else "10.244.0.7"
    return Call(source, address, name, port, declared.target if declared else port, method, path)


API, LEGACY = ServiceName("external", "api.example.com"), ServiceName("external", "10.9.9.9")
BANK = ServiceName("far", "bank")
OUTSIDE = {API: "", LEGACY: "10.9.9.9", BANK: "192.0.2.7"}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Policy, Topology]:
    """A policy that also names hosts outside, one of them declared with its address."""
    inside, topology = draw(policies()), draw(topologies())
    bank = Service(BANK, Kind.EXTERNAL, (Port(443, "tls", 443), Port(80, "http", 80)), endpoints=(OUTSIDE[BANK],))
    hosts = {
        name: ServicePolicy(name, tuple(Rule(source, port) for source, port in draw(_OUTWARD_RULES)), inside.revision)
        for name in draw(st.lists(st.sampled_from([*OUTSIDE]), unique=True))
    }
    modes = {**inside.modes, **draw(st.dictionaries(st.sampled_from([*OUTSIDE]), st.sampled_from(Mode), max_size=1))}
    policy = Policy(inside.revision, {**inside.services, **hosts}, modes, inside.default_mode)
    return policy, Topology.of([*topology.services.values(), bank])


_OUTWARD_RULES = st.lists(st.tuples(st.sampled_from(WORKLOADS), st.sampled_from([80, 443])), max_size=4)


@st.composite
def outward_calls(draw: st.DrawFn) -> Call:
    """A connection from a workload to a host outside."""
    name, port = draw(st.sampled_from([*OUTSIDE])), draw(st.sampled_from([80, 443]))
    source = WorkloadId(*draw(st.sampled_from(SERVICES)))
    return Call(source, "10.244.0.7", name, port, port, outside=True, destination_address=OUTSIDE[name])


def documents_of(export: Export) -> list[dict[str, Any]]:
    """The manifests as whoever applies them reads them."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(write_export(export, 1, "an export"), Loader=loader) if document]


def check_outward(policy: Policy, call: Call, unsaid: Iterable[Unsaid], *, passes: bool) -> None:
    """As `check_same`, for what the source's sidecar lets out."""
    assert call.source is not None
    about = {item.effect for item in unsaid if item.service == call.destination}
    ports = may_reach(policy, call.source, call.destination)
    allowed = ports is None or call.port in ports
    if passes and not allowed:
        assert Effect.WIDER in about, call
    if allowed and not passes:
        assert Effect.NARROWER in about, call


def check_same(policy: Policy, call: Call, unsaid: Iterable[Unsaid], *, passes: bool) -> None:
    """An export may differ from the policy only in the way, and for the calls, that it lists."""
    about = {item.effect for item in unsaid if _is_about(item, call)}
    allowed = not isinstance(evaluate(policy, call.request), Denied)
    if passes and not allowed:
        assert Effect.WIDER in about, call
    if allowed and not passes:
        assert Effect.NARROWER in about, call


def _is_about(item: Unsaid, call: Call) -> bool:
    if item.service != call.destination:
        return False
    rule = item.rule
    if rule is None:
        return True
    source = AddressSource(call.address) if call.source is None else call.source
    return rule.port == call.port and source_covers(rule.source, source)
