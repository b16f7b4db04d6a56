"""A control plane without its gRPC side: a real SQLite store, publisher, review and API over a small shop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import flask

from controlplane.api.app import ApiServices, HealthReport, create_app
from controlplane.api.listen import ApiServer
from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import Step
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.schedule import Terms
from controlplane.identity.spiffe import parse_workload
from controlplane.policy.accounts import Scope
from controlplane.policy.objects import Standing
from controlplane.policy.owners import Owners
from controlplane.policy.roles import Role
from controlplane.policy.rules import Mode
from controlplane.settings import Listen, parse_listen
from controlplane.store.sql import SqlStore, open_store
from controlplane.store.stored import SidecarRow
from controlplane.topology.document import parse_topology
from controlplane.topology.unmeshed import Gaps
from controlplane.workflow.accounts import Accounts, NewToken
from controlplane.workflow.agreement import Agreement
from controlplane.workflow.publish import Publisher
from controlplane.workflow.retention import Keep
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Done, Refused, Why
from controlplane.workflow.rotation import Rotated, Rotation
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.directories import short_directory

TOKEN = "a-token-for-tests-only"
SHOP = b"""
services:
- {name: frontend, kind: service, addresses: [10.1.0.1], endpoints: [10.0.0.1], ports: [{port: 80, protocol: http}]}
- {name: cart, namespace: shop, kind: service, addresses: [10.1.0.2], endpoints: [10.0.0.2], ports: [{port: 7070, protocol: grpc}]}
- {name: pay, namespace: shop, kind: service, addresses: [10.1.0.3], endpoints: [10.0.0.3], ports: [{port: 443, protocol: http}]}
- {name: redis, namespace: shop, kind: service, addresses: [10.1.0.4], endpoints: [10.0.0.4], ports: [{port: 6379, protocol: tcp}]}
- {name: redis, namespace: ops, kind: service, addresses: [10.1.0.5], endpoints: [10.0.0.5], ports: [{port: 6379, protocol: tcp}]}
- {name: api.example.com, namespace: outside, kind: external, ports: [{port: 443, protocol: https}]}
"""
GET_CART = EdgeKey("default/frontend", "shop/cart", 7070, "grpc", "POST", "/shop.Cart/Get")
ADD_CART = GET_CART._replace(path="/shop.Cart/Add")
PAY = EdgeKey("default/frontend", "shop/pay", 443, "http", "POST")
REDIS = EdgeKey("shop/cart", "shop/redis", 6379, "tcp")


@dataclass
class Plane:
    """The parts; ``now_ms`` is its clock, which stands still."""

    store: SqlStore
    publisher: Publisher
    review: Review
    directory: Path
    now_ms: int = 1_000_000
    owners: Owners = field(default_factory=Owners)
    read_owners: Callable[[], Owners] | None = None
    reasons: tuple[str, ...] = ()
    keep: Keep = field(default_factory=Keep)
    gaps: Gaps = field(default_factory=Gaps)
    objects: tuple[Standing, ...] = ()
    delegated: bool = False
    tokens: list[tuple[str, int, str]] = field(default_factory=list)
    accounts: Accounts = field(init=False)
    _sequence: int = 0

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.store, lambda: self.now_ms)

    def token(self, name: str, role: Role, *namespaces: str) -> str:
        """A new user's token, in the whole mesh unless namespaces are named."""
        assert isinstance(self.accounts.create(name, Scope(role, namespaces or None), "", "alice"), Done)
        made = self.accounts.new_token(name, "", None, None, "alice")
        assert isinstance(made, NewToken)
        return made.secret

    def learn(self, *edges: EdgeKey, count: int = 1, seen_ms: int = 500, image: str = "") -> None:
        """Have edges used."""
        self._record(*(Flow(edge, Verdict.ALLOWED, "shop/cart", "in", count, seen_ms, seen_ms, image=image) for edge in edges))

    def violate(self, edge: EdgeKey, verdict: Verdict = Verdict.DENIED, *, seen_ms: int = 700, count: int = 1) -> None:
        """Have an edge refused."""
        deny_id = f"deny:{edge.destination}@r1" if verdict is Verdict.DENIED else ""
        self._record(Flow(edge, verdict, "shop/cart", "in", count, seen_ms, seen_ms, deny_id=deny_id))

    def _record(self, *flows: Flow) -> None:
        self._sequence += 1
        with self.store.transaction() as transaction:
            transaction.record_batch("shop/cart", "cart-0", "a" * 32, self._sequence, flows, 0, self.now_ms)

    def sidecar(self, row: SidecarRow) -> None:
        """Have a sidecar's state."""
        with self.store.transaction() as transaction:
            transaction.save_sidecars([row])

    def services(self, token: str | None = TOKEN) -> ApiServices:
        """What the API gets."""
        return ApiServices(
            store=self.store,
            review=self.review,
            publisher=self.publisher,
            clock_ms=lambda: self.now_ms,
            health=lambda: HealthReport(live=True, ready=not self.reasons, reasons=self.reasons),
            metrics=lambda: b"picket_policy_revision 0.0\n",
            new_join_token=self._join,
            token=token,
            accounts=self.accounts,
            authority=self._authority,
            rotate=self._rotate,
            keep=self.keep,
            gaps=lambda: self.gaps,
            delegated=self.delegated,
            objects=lambda: self.objects,
            host_names=("mesh.example.org", "0.0.0.0"),
        )

    @cached_property
    def rotation(self) -> Rotation:
        """The rotation of a real authority, in a directory."""

        def clock() -> datetime:
            return datetime.fromtimestamp(self.now_ms / 1000, UTC)

        custody = AuthorityDirectory(self.directory / "ca", "picket.test", clock=clock)
        kept = asyncio.run(custody.load())
        terms = Terms(timedelta(days=3650), timedelta(days=90), timedelta(hours=24))
        return Rotation(custody, kept, MeshAuthority(kept.generations), self.store, terms, timedelta(hours=1), clock)

    def begin_rotation(self) -> None:
        """Have the next authority be prepared."""
        assert isinstance(self._rotate(Step.PREPARE, "alice", "", now=False), Rotated)

    def _authority(self) -> Rotated | Refused:
        return Refused("the mesh has no authority of its own", Why.MISSING) if self.delegated else self.rotation.state()

    def _rotate(self, step: Step, actor: str, reason: str, *, now: bool) -> Rotated | Refused:
        return asyncio.run(self.rotation.take(step, actor, reason, now=now))

    def _join(self, workload: str, lifetime_seconds: int, actor: str) -> dict[str, object]:
        name = parse_workload(workload)
        if name not in self.publisher.topology.by_workload:
            raise ValueError(f"no service in the topology has the workload {name}")
        self.tokens.append((str(name), lifetime_seconds, actor))
        return {"workload": str(name), "token": "picket-join-secret"}

    def app(self) -> flask.Flask:
        """The API."""
        return create_app(self.services())

    @property
    def socket(self) -> str:
        """Where it may listen."""
        return f"unix:{self.directory}/api.sock"

    @contextmanager
    def listening(self, address: str, token: str | None = TOKEN) -> Iterator[str]:
        """The API on a real socket; its address."""
        listen: Listen = parse_listen(address, "test")
        server = ApiServer(create_app(self.services(token)), listen)
        try:
            yield server.address
        finally:
            server.close()


@contextmanager
def plane(topology: bytes = SHOP, url: str = "") -> Iterator[Plane]:
    """A new control plane over a topology, with an empty store or that of a URL.

    Its directory is short enough for a socket's path.
    """
    with short_directory("plane") as directory, closing(open_store(url or f"sqlite:///{directory}/picket.db")) as store:
        services = parse_topology(topology, "topology.yaml").topology
        publisher = Publisher(store, services, Compiler(Trust("picket.test", b"-----BEGIN CERTIFICATE-----\n")), Mode.LEARN)
        agreement = Agreement(store, lambda: made.now_ms, lambda: made.read_owners() if made.read_owners else made.owners)
        review = Review(store, publisher, lambda: made.now_ms, agreement=agreement)
        made = Plane(store, publisher, review, directory)
        made.review.modes.note_default()
        yield made
