"""Approvals written as TrafficPolicy objects, against an HTTP server that speaks the API: kept up to date, never over others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.kubernetes import policyobjects
from controlplane.kubernetes.approvals import Approvals, Remove, Write, steps
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.policies import Policies
from controlplane.kubernetes.policyobject import PolicyObject
from controlplane.kubernetes.policyobjects import PolicyObjects
from controlplane.policy.objects import State
from controlplane.policy.rules import Mode, Rule
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import Lease, TrafficPolicy
from controlplane.policy.traffic_text import write_documents
from controlplane.topology.model import ServiceName
from controlplane.workflow.approved import ApprovedDocument, ApprovedDocuments
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.revisions import Done, Published, Refused
from tests.harness.kubeapi import Json, KubernetesApi
from tests.harness.plane import Plane
from tests.harness.plane import plane as made_plane

CART = ServiceName("shop", "cart")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLURAL = "trafficpolicies"


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane's parts."""
    with made_plane() as made:
        yield made


class Writer:
    """The writer of one control plane, looked after by hand: each `look` sees all that the API has."""

    def __init__(self, api: KubernetesApi, client: Client, plane: Plane, namespaces: Collection[str]) -> None:
        self.api, self.plane = api, plane
        self.namespaces = set(namespaces)
        self.held = PolicyObjects(client)
        self.documents = ApprovedDocuments(plane.store, plane.publisher)
        self.approvals = Approvals(client, self.held, self.documents.of, lambda: self.namespaces, lambda: NOW)

    async def look(self, times: int = 2) -> None:
        """Twice: what it wrote comes back by the watch, and has to be left as it is."""
        for _ in range(times):
            await self.heard()
            await self.approvals.look()
        await self.heard()

    async def heard(self) -> None:
        """Wait until the watch has told of everything."""
        async with asyncio.timeout(30):
            while self._versions() != {key: item.metadata.resource_version for key, item in self.held.objects.items()}:  # noqa: ASYNC110  # nobody rings
                await asyncio.sleep(0.005)

    def _versions(self) -> dict[str, str]:
        return {key: item["metadata"]["resourceVersion"] for key, item in self.api.objects.get(PLURAL, {}).items()}

    def states(self) -> dict[str, State]:
        """How the objects stand."""
        return {one.object: one.state for one in (*self.held.standings(applied=True, written=True), *self.approvals.lacking)}


@pytest.fixture
async def writer(api: KubernetesApi, plane: Plane) -> AsyncIterator[Writer]:
    """One that writes into `shop`."""
    async with Client(api.config()) as client:
        made = Writer(api, client, plane, {"shop"})
        following = asyncio.create_task(made.held.run())
        yield made
        following.cancel()
        await asyncio.wait({following})


def approve(plane: Plane, text: str) -> None:
    """Put a document into force, as somebody's approval does."""
    reading = read_documents(text.encode(), "test.yaml")
    assert not reading.findings
    assert isinstance(plane.review.documents.apply(reading.documents, "ana"), Published | Done)


def document(service: str = "cart", source: str = "default/frontend", more: str = "") -> str:
    """A document."""
    return f"""
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {service}, namespace: shop}}
spec:
  {more}
  rules:
  - from: [{{workload: {source}}}]
    ports: [7070]
    lease: {{owner: team-a, expires: 2099-01-31}}
"""


def held(api: KubernetesApi, key: str = "shop/cart") -> Json:
    """An object as the API has it."""
    found: Json = api.objects[PLURAL][key]
    return found


def told(api: KubernetesApi, key: str = "shop/cart") -> dict[str, tuple[str, str]]:
    """Its conditions."""
    return {item["type"]: (item["status"], item["reason"]) for item in held(api, key)["status"]["conditions"]}


def written(api: KubernetesApi) -> list[str]:
    """The requests that change something, in their order."""
    return [f"{method} {path.partition('?')[0].rpartition(f'{PLURAL}/')[2]}" for method, path in api.requests if method != "GET"]


WRITTEN = {"Written": ("True", "Approved"), "InForce": ("True", "Same")}
CONFLICT = {"Written": ("False", "Conflict"), "InForce": ("False", "Differs")}


async def test_what_is_approved_is_an_object_of_pickets_own(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """With its lease and mode, the revision, and whose it is; the same document that `picket policy export` writes."""
    approve(plane, document(more="mode: audit"))
    await writer.look()
    made = held(api)
    assert made["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "picket"}
    assert made["metadata"]["annotations"] == {"picket.dev/revision": "1"}
    assert made["spec"] == {
        "mode": "audit",
        "rules": [
            {
                "from": [{"workload": "default/frontend"}], "ports": [7070], "protocol": "grpc",
                "lease": {"owner": "team-a", "expires": "2099-01-31"},
            }
        ],
    }  # fmt: skip
    assert (told(api), made["status"]["revision"], made["status"]["observedGeneration"]) == (WRITTEN, 1, 1)
    _, (wanted,) = writer.documents.of({"shop"})
    read = writer.held.objects["shop/cart"].document()
    assert isinstance(read, TrafficPolicy)
    assert write_documents([read]) == write_documents([wanted.document])
    assert writer.states() == {"shop/cart": State.IN_FORCE}


async def test_it_follows_every_decision_and_goes_with_the_last_rule(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """An approval, a rollback, and nothing that is written twice."""
    approve(plane, document())
    await writer.look()
    approve(plane, document(source="shop/pay"))
    await writer.look()
    assert held(api)["spec"]["rules"][0]["from"] == [{"workload": "shop/pay"}]
    assert held(api)["metadata"]["annotations"] == {"picket.dev/revision": "2"}
    assert isinstance(plane.review.rollback(1, "ana", "back"), Published)
    await writer.look()
    assert held(api)["spec"]["rules"][0]["from"] == [{"workload": "default/frontend"}]
    assert held(api)["status"]["revision"] == 3
    assert isinstance(plane.review.rollback(0, "ana", "nothing"), Published)
    await writer.look(3)
    assert api.objects[PLURAL] == {}
    once = ["PATCH shop/cart", "PATCH shop/cart/status"]
    paths = [entry.replace("namespaces/", "") for entry in written(api)]
    assert len(paths) == 3 * len(once) + 2  # the first apply counts as a creation, too
    assert writer.states() == {}


async def test_who_answers_for_an_edge_is_kept_up_to_date_too(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """A renewed lease makes no revision."""
    approve(plane, document())
    await writer.look()
    assert isinstance(plane.review.leases.renew(CART, "default/frontend", 7070, Lease(owner="team-b"), "ana"), Done)
    await writer.look()
    assert held(api)["spec"]["rules"][0]["lease"] == {"owner": "team-b"}
    assert (told(api), held(api)["metadata"]["generation"]) == (WRITTEN, 2)


async def test_only_labelled_namespaces_get_objects_and_lose_them_with_the_label(
    api: KubernetesApi, plane: Plane, writer: Writer
) -> None:
    """Off by default."""
    writer.namespaces.clear()
    approve(plane, document())
    await writer.look()
    assert written(api) == []
    writer.namespaces.add("shop")
    await writer.look()
    assert set(api.objects[PLURAL]) == {"shop/cart"}
    writer.namespaces.clear()
    await writer.look()
    assert api.objects[PLURAL] == {}


@pytest.mark.parametrize("manager", ["kubectl-edit", "argocd-controller"])
async def test_what_somebody_else_changed_stays_and_shows_it(
    api: KubernetesApi, plane: Plane, writer: Writer, manager: str
) -> None:
    """With who did and what to do; once it is deleted it is written again."""
    approve(plane, document())
    await writer.look()
    theirs = {"rules": [{"from": [{"workload": "evil/one"}], "ports": [7070]}]}
    api.edit(PLURAL, "cart", held(api) | {"spec": theirs}, "shop", manager)
    await writer.look()
    assert held(api)["spec"] == theirs
    assert told(api) == CONFLICT
    (standing,) = writer.held.standings(applied=True, written=True)
    assert (standing.state, standing.needs_a_look) == (State.CONFLICT, True)
    assert manager in standing.reason
    assert "delete the object" in standing.reason
    approve(plane, document(source="shop/pay"))
    await writer.look()
    assert (held(api)["spec"], told(api)) == (theirs, CONFLICT)
    before = len(api.requests)
    await writer.look(3)
    assert len(api.requests) == before  # nor is it written over and over
    api.delete(PLURAL, "cart", "shop")
    await writer.look()
    assert (held(api)["spec"]["rules"][0]["from"], told(api)) == ([{"workload": "shop/pay"}], WRITTEN)


async def test_whoever_is_faster_than_the_watch_is_not_overwritten_either(
    api: KubernetesApi, plane: Plane, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server itself refuses what is applied without force."""
    approve(plane, document())
    await writer.look()
    theirs: Json = {"rules": []}
    stale = dict(writer.held.objects)
    api.edit(PLURAL, "cart", held(api) | {"spec": theirs}, "shop", "kubectl-edit")
    approve(plane, document(source="shop/pay"))
    with monkeypatch.context() as patched:
        patched.setattr(PolicyObjects, "objects", property(lambda _: stale))
        await writer.approvals.look()
    assert held(api)["spec"] == theirs
    await writer.look()
    assert told(api) == CONFLICT


async def test_an_object_that_was_changed_is_not_deleted(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """When nothing is approved any more it says so."""
    approve(plane, document())
    await writer.look()
    api.edit(PLURAL, "cart", held(api) | {"spec": {"mode": "enforce", "rules": []}}, "shop", "kubectl-edit")
    assert isinstance(plane.review.rollback(0, "ana", "nothing"), Published)
    await writer.look()
    assert told(api) == CONFLICT
    assert "nothing is approved for its service" in held(api)["status"]["conditions"][0]["message"]


async def test_a_label_that_somebody_wrote_makes_an_object_nobodys_to_delete(
    api: KubernetesApi, plane: Plane, writer: Writer
) -> None:
    """Whether the API has who wrote it or not."""
    forged = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "picket"}, "generation": 1}, "spec": {"rules": []}}
    api.put(PLURAL, "unknown", forged, "shop")
    api.edit(PLURAL, "cart", forged, "shop", "kubectl-create")
    await writer.look()
    assert set(api.objects[PLURAL]) == {"shop/unknown", "shop/cart"}
    assert told(api) == told(api, "shop/unknown") == CONFLICT


async def test_a_document_from_git_gets_no_second_object_and_is_not_written_to(
    api: KubernetesApi, plane: Plane, writer: Writer
) -> None:
    """Under any name; where Picket's own was there before, that one goes."""
    approve(plane, document())
    await writer.look()
    git = {"spec": {"service": "shop/cart", "rules": []}, "metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}}
    api.edit(PLURAL, "cart-from-git", git, "shop", "kustomize-controller")
    before = held(api, "shop/cart-from-git")
    await writer.look()
    assert set(api.objects[PLURAL]) == {"shop/cart-from-git"}
    assert held(api, "shop/cart-from-git") == before


async def test_an_object_in_the_place_of_another_services_is_told(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """It has nowhere to show it, so it is shown beside the others."""
    api.edit(PLURAL, "cart", {"spec": {"service": "shop/pay", "rules": []}}, "shop", "kubectl-create")
    approve(plane, document())
    await writer.look()
    (standing,) = writer.approvals.lacking
    assert (standing.object, standing.state) == ("shop/cart", State.CONFLICT)
    assert "speaks for shop/pay" in standing.reason


async def test_what_is_allowed_for_a_time_alone_is_not_written(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """Who copies the object into Git would have it last."""
    approve(plane, document())
    await writer.look()
    before = held(api)
    exceptions = BreakGlass(plane.store, plane.publisher, lambda: plane.now_ms)
    rule = Rule(WorkloadId("shop", "pay"), 7070)
    assert not isinstance(exceptions.grant(CART, rule, 60, "incident", "", "ana"), Refused)
    assert rule in plane.publisher.policy.of(CART).rules
    await writer.look()
    assert held(api) == before


async def test_what_it_wrote_does_not_come_back_in(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """Nor when somebody changed it: a conflict is a person's to decide. Without its label it is a document like any."""
    approve(plane, document())
    await writer.look()
    async with Client(api.config()) as client:
        policies = Policies(client, writer.held, plane.review, lambda: plane.publisher.policy, lambda: NOW)
        await policies._look()
        assert (told(api), plane.publisher.policy.revision) == (WRITTEN, 1)
        changed = held(api) | {"spec": {"rules": []}}
        api.edit(PLURAL, "cart", changed, "shop", "kubectl-edit")
        await writer.look()
        await policies._look()
        assert (told(api), plane.publisher.policy.revision) == (CONFLICT, 1)
        unlabelled = {**held(api), "metadata": {**held(api)["metadata"], "labels": {}}}
        api.edit(PLURAL, "cart", unlabelled, "shop", "kubectl-edit")
        await writer.look()
        await policies._look()
        await writer.look()
    assert told(api) == {"Applied": ("True", "Published"), "InForce": ("True", "Same")}
    assert plane.publisher.policy.of(CART).rules == ()


async def test_two_control_planes_write_once_and_one_that_is_behind_writes_nothing(
    api: KubernetesApi, plane: Plane, writer: Writer
) -> None:
    """It neither undoes nor deletes what it has not heard of yet."""
    approve(plane, document())
    behind = writer.documents.of({"shop"})
    approve(plane, document(source="shop/pay"))
    approve(plane, document("pay", more="mode: enforce"))
    await writer.look()
    now = writer.documents.of({"shop"})
    before = dict(api.objects[PLURAL])
    async with Client(api.config()) as client:
        other = Approvals(client, writer.held, lambda _: behind, lambda: {"shop"}, lambda: NOW)
        await other.look()
        assert api.objects[PLURAL] == before
        assert {one.object for one in other.lacking} == {"shop/cart", "shop/pay"}
        behind = now
        await other.look()
    assert (api.objects[PLURAL], other.lacking) == (before, ())


async def test_what_nobody_looks_after_does_not_look_as_if_it_were_kept(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """Where approvals were written once, or objects are not put into force."""
    approve(plane, document())
    await writer.look()
    api.edit(PLURAL, "pay", {"spec": {"rules": []}}, "shop", "kubectl-create")
    await writer.heard()
    found = {one.object: (one.state, one.reason) for one in writer.held.standings(applied=False, written=False)}
    assert {state for state, _ in found.values()} == {State.UNKEPT}
    assert "delete it" in found["shop/cart"][1]
    assert "--kubernetes-policies" in found["shop/pay"][1]


async def test_what_cannot_be_written_is_shown_and_tried_again(api: KubernetesApi, plane: Plane, writer: Writer) -> None:
    """As where RBAC does not allow it."""
    approve(plane, document())
    api.refuse["trafficpolicies/cart"] = 403
    await writer.look()
    (standing,) = writer.approvals.lacking
    assert (standing.object, standing.state) == ("shop/cart", State.CONFLICT)
    assert "403" in standing.reason
    api.refuse.clear()
    await writer.look()
    assert writer.states() == {"shop/cart": State.IN_FORCE}


async def test_a_change_of_the_policy_is_written_at_once(
    api: KubernetesApi, plane: Plane, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the next look around."""
    monkeypatch.setattr(policyobjects, "LOOK_SECONDS", 3600.0)
    running = asyncio.create_task(writer.approvals.run())
    await writer.heard()
    approve(plane, document())

    def there() -> bool:
        with api.changed:
            return api.changed.wait_for(lambda: "shop/cart" in api.objects.get(PLURAL, {}), timeout=30)

    writer.held.ring()
    assert await asyncio.to_thread(there)
    running.cancel()
    await asyncio.wait({running})


NAMES = st.sampled_from(["cart", "pay", "redis"])
WROTE = st.lists(st.sampled_from(["picket", "kubectl-edit", "argocd-controller"]), max_size=2, unique=True)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, PolicyObject]:
    """Whatever may be in a namespace: anybody's, with any labels, about any service, at any revision."""
    made = {}
    for name in draw(st.lists(NAMES, unique=True)):
        operation = {"picket": "Apply"}
        managed = [
            {"manager": manager, "operation": operation.get(manager, "Update"), "fieldsV1": {"f:spec": {"f:rules": {}}}}
            for manager in draw(WROTE)
        ]
        metadata = {
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", "managedFields": managed,
            "labels": draw(st.dictionaries(st.just("app.kubernetes.io/managed-by"), st.sampled_from(["picket", "Helm"]))),
            "annotations": draw(st.dictionaries(st.just("picket.dev/revision"), st.sampled_from(["1", "5", "9", "x", "-3"]))),
        }  # fmt: skip
        spec = draw(st.sampled_from([{"rules": []}, {"service": "shop/pay"}, {"mode": "audit"}, {"mode": "loud"}, {}]))
        made[f"shop/{name}"] = msgspec.convert({"metadata": metadata, "spec": spec}, PolicyObject)
    return made


@given(objects(), st.lists(st.tuples(NAMES, st.sampled_from(list(Mode))), unique_by=lambda one: one[0]))
def test_whatever_is_there_nothing_of_others_is_written_over_or_removed(
    there: dict[str, PolicyObject], wanted: list[tuple[str, Mode]]
) -> None:
    """And each object is looked at once, and each service has one of them."""
    documents = [ApprovedDocument(TrafficPolicy(ServiceName("shop", name), mode=mode), 5) for name, mode in wanted]
    planned = list(steps(documents, there, 5))
    assert len({key for key, _ in planned}) == len(planned)
    foreign = {item.service for item in there.values() if not item.is_own}
    for key, step in planned:
        item = there.get(key)
        if isinstance(step, Write):
            assert step.document.service not in foreign
            assert item is None or (item.is_own and not item.others and item.written_revision <= 5)
        elif isinstance(step, Remove):
            assert step.item is item
            assert item.is_own
            assert not item.others
            assert item.written_revision <= 5
            assert item.service not in {str(one.service) for one in documents} - foreign
    seen = {key for key, _ in planned}
    assert seen >= {key for key, item in there.items() if item.is_own}
