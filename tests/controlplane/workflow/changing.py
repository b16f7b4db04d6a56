"""Small random meshes, and what changes in them: mostly replicas, now and then a service, its addresses, a rule or the order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import revise, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Guard, Kind, Port, Service, ServiceName, Topology, UpstreamListener

WEB, CART, DB, OLD = (ServiceName("shop", name) for name in ("web", "cart", "db", "old"))
BANK = ServiceName("external", "bank.example")
NAMES = [WEB, CART, DB, OLD, BANK]
MESHED = NAMES[:-1]
HTTP = (Port(80, "http", 8080),)


@dataclass(frozen=True)
class Step:
    """A mesh before and after something changed."""

    before: Topology
    after: Topology
    policy: Policy
    later: Policy


@st.composite
def services(draw: st.DrawFn, name: ServiceName) -> Service:
    """A service that mostly listens on one port, in one of few places."""
    number = NAMES.index(name)
    ports = draw(
        st.sampled_from([(Port(80, "http", 8080),)] * 5 + [(Port(81, "mysql", 81),), (Port(80, "auto", 80), Port(82, "tcp", 82))])
    )
    replicas = tuple(f"10.2.{number}.{n}" for n in range(draw(st.integers(0, 2))))
    if name.namespace == "external":
        return Service(name, Kind.EXTERNAL, ports, (), replicas)
    explicit = draw(st.integers(0, 4)) == 0
    listeners = (UpstreamListener(draw(st.sampled_from(NAMES)), 80, "127.0.0.1", 17000),) if explicit else ()
    guard = draw(st.sampled_from([Guard.ALL] * 5 + [Guard.SOME]))
    address = f"10.1.0.{draw(st.sampled_from([number, 9]))}"
    return Service(name, Kind.SERVICE, ports, (address,), replicas, None, "explicit" if explicit else "redirect", listeners, guard)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One or two services of a mesh change, or come, or go, and perhaps a rule with them."""
    before = {name: draw(services(name)) for name in draw(st.permutations(NAMES)) if draw(st.integers(0, 5))}
    after = dict(before)
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)):
        had = before.get(name)
        match draw(st.sampled_from(["replicas", "replicas", "anything", "goes", "stands last"])):
            case "replicas" if had is not None:
                after[name] = replace(had, endpoints=("10.2.9.9",))
            case "goes":
                after.pop(name, None)
            case "stands last" if had is not None:
                after[name] = after.pop(name, had)
            case _:
                after[name] = draw(services(name))
    rules = {
        name: ServicePolicy(name, tuple(Rule(WorkloadId(*source), 80) for source in draw(st.sets(st.sampled_from(MESHED)))), 1)
        for name in NAMES
    }
    modes = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Mode), max_size=2))
    policy = Policy(1, rules, modes, draw(st.sampled_from([Mode.ENFORCE] * 4 + [Mode.LEARN])))
    later = policy
    if draw(st.booleans()):
        name = draw(st.sampled_from(NAMES))
        later = revise(policy, {**rule_sets(policy), name: [Rule(WorkloadId(*draw(st.sampled_from(MESHED))), 80)]}, 2)
    return Step(Topology(before), Topology(after), policy, later)
