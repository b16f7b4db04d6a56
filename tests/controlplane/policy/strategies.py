"""Random policies over a small world, so that rules and requests meet often."""

from __future__ import annotations

from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName

SERVICES = [ServiceName("shop", name) for name in ("web", "cart", "db")]
WORKLOADS = [WorkloadId("shop", name) for name in ("web", "cart", "db", "front", "stranger")]
NETWORKS = ["127.0.0.0/8", "127.1.0.0/16", "127.1.2.0/24", "127.1.2.3/32", "::1/128", "0.0.0.0/0"]
PORTS = [80, 81, 3306]

METHODS = st.sampled_from(["", "GET", "POST", "DELETE"])
PATHS = st.sampled_from(
    ["", "/", "/*", "/a", "/a/b", "/a/*", "/a*", "/{x}", "/a/{id}/c", "/a/*/c", "/shop.Cart/Get", "/%2F", "/a.b", "/a//b"]
)
MATCHES = st.builds(HttpMatch, METHODS, PATHS)
SOURCES = st.sampled_from(WORKLOADS) | st.sampled_from(NETWORKS).map(AddressSource)
RULES = st.builds(Rule, SOURCES, st.sampled_from(PORTS), st.lists(MATCHES, max_size=3).map(tuple))
RULE_LISTS = st.lists(RULES, max_size=8).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy of any revision, with modes of its own for some services."""
    revision = draw(st.integers(1, 9))
    services = {
        name: ServicePolicy(name, draw(RULE_LISTS), draw(st.integers(1, revision)), draw(st.integers(0, revision)))
        for name in draw(st.lists(st.sampled_from(SERVICES), unique=True))
    }
    names = [ServiceName(*workload) for workload in WORKLOADS]
    modes = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(Mode), max_size=4))
    default = draw(st.sampled_from([mode for mode in Mode if mode is not Mode.QUARANTINE]))
    return Policy(revision, services, modes, default)
