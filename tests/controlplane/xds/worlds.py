"""Random topologies with policies for them: few names, addresses and ports, so that things collide as they do in real life."""

from __future__ import annotations

from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, UpstreamListener
from controlplane.xds.tls import Trust
from tests.controlplane.policy.strategies import MATCHES

TRUST = Trust("picket.test", b"-----BEGIN CERTIFICATE-----\n")
MESHED = [ServiceName("shop", "web"), ServiceName("shop", "cart"), ServiceName("data", "db"), ServiceName("shop", "quiet")]
OUTSIDE = [ServiceName("shop", "api.test"), ServiceName("external", "API.test"), ServiceName("external", "2001:db8::1"),
           ServiceName("external", "a-host-whose-name-is-too-long-to-be-an-identity-in-any-mesh.example.com")]  # fmt: skip
PORTS = st.builds(
    Port,
    st.sampled_from([80, 81, 443, 3306]),
    st.sampled_from(["http", "grpc", "redis", "mysql", "auto", "https", "tcp"]),
    st.sampled_from([80, 8080, 8081]),
)
PORT_LISTS = st.lists(PORTS, max_size=3, unique_by=lambda port: port.number).map(tuple)
ADDRESSES = st.lists(st.sampled_from(["10.1.0.1", "10.1.0.2", "fd00::1"]), max_size=2, unique=True).map(tuple)
LISTENERS = st.lists(
    st.builds(UpstreamListener, st.sampled_from([*MESHED, *OUTSIDE]), st.sampled_from([80, 81, 443]), st.just("127.0.0.1"),
              st.integers(17000, 17005)),
    max_size=3, unique_by=lambda listener: listener.listen_port,
).map(tuple)  # fmt: skip


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """The first service always exists."""
    services = []
    for index, name in enumerate(MESHED):
        if index and not draw(st.booleans()):
            continue
        capture = draw(st.sampled_from(["redirect", "explicit"]))
        services.append(
            Service(
                name, draw(st.sampled_from([Kind.SERVICE, Kind.DATASTORE])), draw(PORT_LISTS), draw(ADDRESSES),
                (f"127.10.{index}.1", f"127.10.{index}.2")[: draw(st.integers(0, 2))],
                draw(st.sampled_from([None, "127.0.0.9"])), capture, draw(LISTENERS) if capture == "explicit" else (),
            )
        )  # fmt: skip
    outside = draw(st.lists(st.sampled_from(OUTSIDE), unique=True))
    services += [Service(name, Kind.EXTERNAL, draw(PORT_LISTS), draw(ADDRESSES), ("127.20.0.1",)) for name in outside]
    return Topology.of(services)


NETWORKS = st.sampled_from(["10.0.0.0/8", "::/0", "127.0.0.1"]).map(AddressSource)
SOURCES = st.sampled_from([WorkloadId(*name) for name in MESHED]) | NETWORKS
RULES = st.builds(Rule, SOURCES, st.sampled_from([80, 81, 443, 3306, 9999]), st.lists(MATCHES, max_size=2).map(tuple))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Rules and modes for any of the names."""
    names = [*MESHED, *OUTSIDE]
    services = {
        name: ServicePolicy(
            name, tuple(draw(st.lists(RULES, max_size=5))), draw(st.integers(0, 5)), draw(st.integers(0, 5)),
            draw(st.dictionaries(st.sampled_from([80, 443]), st.integers(1, 5), max_size=1)),
        )
        for name in names
        if draw(st.booleans())
    }  # fmt: skip
    modes = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(Mode)))
    return Policy(draw(st.integers(1, 9)), services, modes, draw(st.sampled_from([Mode.LEARN, Mode.AUDIT, Mode.ENFORCE])))
