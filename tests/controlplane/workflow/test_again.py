"""A proposal that is brought up to date again and again is what one that remembers nothing would be."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.chart import chart
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.proposal import load_proposal
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.leases import from_ms
from controlplane.policy.rules import HttpMatch, Mode, Rule
from controlplane.policy.traffic_policy import Lease
from controlplane.store.engine import open_engine
from controlplane.store.sql import SqlStore
from controlplane.topology.model import ServiceName, Topology
from controlplane.workflow.asking import Asking
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.publish import Publisher
from controlplane.workflow.review import Review
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.mesh import NOW_MS, TOPOLOGY

SOURCES, PATHS = ["shop/web", "shop/cart", "ip:10.9.9.9"], ["/users/1", "/users/2", "/admin", ""]
EDGES = st.builds(
    EdgeKey, st.sampled_from(SOURCES), st.sampled_from(["shop/cart", "shop/db"]), st.sampled_from([7070, 3306]), st.just("http"),
    st.just("GET"), st.sampled_from(PATHS),
)  # fmt: skip


class Reviewing(RuleBasedStateMachine):
    """People and sidecars do what they do; whoever looks in between sees what a new control plane on the same store would."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(prefix="picket-test-")
        self._engine = open_engine(f"sqlite:///{self._directory.name}/picket.db")
        self._store = SqlStore(self._engine, 60_000)
        self._now_ms, self._sequence, self._topology = NOW_MS, 0, TOPOLOGY
        self._publisher, self._review = self._plane(self._store)

    def teardown(self) -> None:
        self._store.close()
        self._directory.cleanup()

    def _plane(self, store: SqlStore) -> tuple[Publisher, Review]:
        publisher = Publisher(store, self._topology, Compiler(Trust("picket.test", b"bundle")), Mode.LEARN)
        return publisher, Review(store, publisher, lambda: self._now_ms, unused_days=1)

    @rule(edges=st.lists(EDGES, min_size=1, max_size=3), count=st.integers(1, 50))
    def use(self, edges: list[EdgeKey], count: int) -> None:
        self._sequence += 1
        flows = [Flow(edge, Verdict.ALLOWED, edge.destination, "in", count, self._now_ms, self._now_ms) for edge in edges]
        with self._store.transaction() as transaction:
            transaction.record_batch("shop/cart", "0", "c" * 32, self._sequence, flows, 0, self._now_ms)

    @rule(minutes=st.sampled_from([1, 60, 26 * 60]))
    def wait(self, minutes: int) -> None:
        """Sidecars report every hour of it, so that it was watched."""
        ends_ms = self._now_ms + minutes * 60_000
        while self._now_ms < ends_ms:
            self._now_ms = min(self._now_ms + 3_600_000, ends_ms)
            self._sequence += 1
            with self._store.transaction() as transaction:
                transaction.record_batch("shop/cart", "0", "c" * 32, self._sequence, [], 0, self._now_ms)

    @rule(approves=st.booleans(), every=st.integers(1, 3), expires_days=st.sampled_from([None, 1]))
    def decide(self, approves: bool, every: int, expires_days: int | None) -> None:
        proposal = self._review.refresh_proposal()
        if proposal is None:
            return
        rows = range(1, len(load_proposal(proposal.document)) + 1, every)
        if approves:
            expires = None if expires_days is None else from_ms(self._now_ms + expires_days * DAY_MS)
            self._review.approve(proposal.number, "ana", "", rows, Lease("team", expires=expires))
        else:
            self._review.reject(proposal.number, "ana", "", rows)

    @rule(path=st.sampled_from(PATHS), source=st.sampled_from(SOURCES[:2]))
    def ask(self, path: str, source: str) -> None:
        wanted = Rule(WorkloadId(*source.split("/")), 7070, (HttpMatch("GET", path),))
        Asking(self._store, self._publisher, lambda: self._now_ms).ask(
            ServiceName("shop", "cart"), wanted, "http", "bob", "why", again=True
        )

    @rule()
    def roll_back(self) -> None:
        self._review.rollback(0, "ana")

    @rule(mode=st.sampled_from([Mode.LEARN, Mode.ENFORCE]))
    def set_mode(self, mode: Mode) -> None:
        self._review.modes.change([ServiceName("shop", "cart")], mode, "ana")

    @rule()
    def let_through(self) -> None:
        glass = BreakGlass(self._store, self._publisher, lambda: self._now_ms)
        glass.grant(ServiceName("shop", "db"), Rule(WorkloadId("shop", "web"), 3306), 60, "at night", "", "ana")
        self._now_ms += 120_000
        glass.end_expired()

    @rule()
    def database_goes_or_comes(self) -> None:
        services = {name: service for name, service in TOPOLOGY.services.items() if name.name != "db"}
        self._topology = TOPOLOGY if self._topology is not TOPOLOGY else Topology(services)
        self._publisher.declare(self._topology)

    @invariant()
    def asks_what_is_asked_anew(self) -> None:
        found = self._review.refresh_proposal()
        publisher, fresh = self._plane(SqlStore(self._engine, 60_000))
        assert fresh.refresh_proposal() == found
        assert fresh.learning.graph() == self._review.learning.graph()
        assert fresh.learning.readiness() == self._review.learning.readiness()
        assert fresh.leases.held() == self._review.leases.held()
        now, learned = publisher.in_force, fresh.learned()
        charted = self._review.learning.chart(self._publisher.policy, self._publisher.topology, self._review.learned())
        assert charted == chart(now.policy, learned, now.topology)


def test_a_proposal_is_always_what_it_would_be_anew() -> None:
    patient = settings(max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Reviewing, settings=patient)
