"""Random `TrafficPolicy` documents over the small world of `strategies`."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

from controlplane.policy.rules import Mode
from controlplane.policy.traffic_policy import Lease, Peer, Request, TrafficPolicy, TrafficRule
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import MATCHES, PORTS, SERVICES, SOURCES

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
_DAYS = st.dates(datetime.date(1000, 1, 1), datetime.date(9000, 1, 1))
_TIMES = st.just(datetime.time.min) | st.times()
MOMENTS = st.builds(datetime.datetime.combine, _DAYS, _TIMES, st.just(datetime.UTC))
_MAYBE = st.just("") | WORDS
LEASES = st.builds(Lease, WORDS, _MAYBE, _MAYBE, st.none() | MOMENTS)
_WRITTEN_MATCHES = MATCHES.filter(lambda match: bool(match.method or match.path))
TRAFFIC_RULES = st.builds(
    TrafficRule,
    st.lists(st.builds(Peer, SOURCES), min_size=1, max_size=3).map(tuple),
    st.lists(st.sampled_from(PORTS), min_size=1, max_size=3).map(tuple),
    st.lists(st.builds(Request, _WRITTEN_MATCHES), max_size=3).map(tuple),
    st.sampled_from(["", "http", "mysql"]),
    st.none() | LEASES,
)
ODD_SERVICES = [ServiceName("external", "api.example.com"), ServiceName("shop", "Cart_1"), ServiceName("external", "::1")]
TEXTS = st.dictionaries(st.sampled_from(["team", "picket.dev/x", "true"]), WORDS | st.just(""), max_size=2)


@st.composite
def documents(draw: st.DrawFn, *, most: int = 3) -> tuple[TrafficPolicy, ...]:
    """Documents of different services."""
    names = draw(st.lists(st.sampled_from([*SERVICES, *ODD_SERVICES]), unique=True, max_size=most))
    return tuple(
        TrafficPolicy(
            name,
            draw(st.lists(TRAFFIC_RULES, max_size=4).map(tuple)),
            draw(st.none() | st.sampled_from(Mode)),
            draw(TEXTS),
            draw(TEXTS),
        )
        for name in names
    )
