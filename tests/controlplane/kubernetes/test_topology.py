"""A cluster's objects as a topology: named by identity, dialled as in Kubernetes, and never leading to anybody else's pods."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.kubernetes import objects
from controlplane.kubernetes.objects import Objects
from controlplane.kubernetes.topology import Found, found_in
from controlplane.topology.model import Guard, Kind, Port, Service, ServiceName
from tests.harness.kubeobjects import Json, digest, endpoints, held, namespace, pod, service

HTTP = {"name": "http", "port": 80, "targetPort": "web"}


def one(found: Found, name: str = "cart") -> Service:
    return found.topology.services[ServiceName("shop", name)]


def cart(**given: object) -> Objects:
    """One service, one account, two pods."""
    pods = {"cart-1": "10.1.0.1", "cart-2": "10.1.0.2"}
    wanted: dict[str, object] = {
        "services": [service("cart", [HTTP])],
        "slices": [endpoints("cart", pods, {"http": 8080})],
        "pods": [pod(name, ip) for name, ip in pods.items()],
    }
    return held(**(wanted | given))  # type: ignore[arg-type]  # names and types are those of `held`


def test_a_service_is_its_pods_identity_with_the_addresses_that_clients_dial() -> None:
    assert one(found_in(cart())) == Service(
        ServiceName("shop", "cart"), Kind.SERVICE, (Port(80, "http", 8080),), ("10.96.0.1",), ("10.1.0.1", "10.1.0.2")
    )


def test_it_is_named_by_the_service_account_whatever_the_service_is_called() -> None:
    found = found_in(cart(services=[service("frontend", [HTTP])], slices=[endpoints("frontend", {"cart-1": "10.1.0.1"}, {})]))
    assert list(map(str, found.topology.services)) == ["shop/cart"]
    assert found.topology.by_address["10.96.0.1"].workload == WorkloadId("shop", "cart")


def test_only_ready_pods_take_calls() -> None:
    slices = [endpoints("cart", {"cart-1": "10.1.0.1", "cart-2": "10.1.0.2"}, {"http": 8080}, unready=["cart-2"])]
    assert one(found_in(cart(slices=slices))).endpoints == ("10.1.0.1",)


def test_a_headless_services_addresses_are_its_pods() -> None:
    assert one(found_in(cart(services=[service("cart", [HTTP], "None")]))).addresses == ("10.1.0.1", "10.1.0.2")


def test_two_services_before_the_same_pods_are_one() -> None:
    pods = {"cart-1": "10.1.0.1", "cart-2": "10.1.0.2"}
    metrics = {"name": "metrics", "port": 9090}
    found = found_in(
        cart(
            services=[service("cart", [HTTP]), service("cart-metrics", [metrics], "10.96.0.2")],
            slices=[endpoints("cart", pods, {"http": 8080}), endpoints("cart-metrics", pods, {"metrics": 9090})],
        )
    )
    assert one(found).addresses == ("10.96.0.1", "10.96.0.2")
    assert [port.number for port in one(found).ports] == [80, 9090]
    assert found.gaps.notes == ()


def test_ports_that_only_containers_name_are_ports_too() -> None:
    pods = [pod("cart-1", "10.1.0.1", ports=[("web", 8080), ("metrics", 9090)])]
    assert [port.number for port in one(found_in(cart(pods=pods))).ports] == [80, 9090]


def test_pods_without_a_service_have_an_identity_and_no_address_to_dial() -> None:
    found = found_in(held(pods=[pod("cart-1", "10.1.0.1")]))
    assert one(found) == Service(ServiceName("shop", "cart"), Kind.SERVICE, (), (), ("10.1.0.1",))


@pytest.mark.parametrize(
    ("sidecars", "unready", "guard"),
    [
        ((True, True), (), Guard.ALL),
        ((True, False), (), Guard.SOME),
        ((False, False), (), Guard.NONE),
        ((True, False), ("cart-1",), Guard.SOME),  # the new one is not ready yet, and needs its certificate to become so
        ((True, False), ("cart-2",), Guard.ALL),
        ((True, True), ("cart-1", "cart-2"), Guard.ALL),
    ],
)
def test_calls_are_encrypted_once_every_pod_that_takes_them_has_a_sidecar(
    sidecars: tuple[bool, bool], unready: tuple[str, ...], guard: Guard
) -> None:
    pods = {"cart-1": "10.1.0.1", "cart-2": "10.1.0.2"}
    found = found_in(
        cart(
            pods=[pod(name, ip, sidecar=has) for (name, ip), has in zip(pods.items(), sidecars, strict=True)],
            slices=[endpoints("cart", pods, {"http": 8080}, unready=unready)],
        )
    )
    assert one(found).guard is guard
    assert (WorkloadId("shop", "cart") in found.topology.by_workload) is (guard is not Guard.NONE)


def test_a_pod_on_the_hosts_network_counts_as_one_without_a_sidecar() -> None:
    pods = [pod("cart-1", "10.1.0.1"), pod("cart-2", "10.1.0.2", sidecar=False, hostNetwork=True)]
    assert one(found_in(cart(pods=pods))).guard is Guard.SOME


def shared(names: tuple[str, str] = ("cart", "web"), account: str = "default") -> Found:
    """Two services before different pods of one service account."""
    first, second = names
    return found_in(
        held(
            services=[service(first, [HTTP]), service(second, [HTTP], "10.96.0.2")],
            slices=[endpoints(first, {"a": "10.1.0.1"}, {"http": 8080}), endpoints(second, {"b": "10.1.0.2"}, {"http": 8080})],
            pods=[pod("a", "10.1.0.1", account), pod("b", "10.1.0.2", account)],
        )
    )


def test_services_that_share_an_account_are_reached_as_kubernetes_leads_and_that_is_noted() -> None:
    """Their pods keep their identity as callers; nobody's calls go to the other's pods."""
    found = shared()
    assert [(str(s.name), s.guard, s.addresses) for s in found.topology.services.values()] == [
        ("shop/default", Guard.ALL, ()), ("shop/cart", Guard.NONE, ("10.96.0.1",)), ("shop/web", Guard.NONE, ("10.96.0.2",)),
    ]  # fmt: skip
    assert list(found.topology.by_workload) == [WorkloadId("shop", "default")]
    assert found.gaps.notes == (
        "shop/default: one service account for what should be told apart (cart, web); give each an account of its own",
    )


def test_of_services_that_share_an_account_the_one_of_its_name_keeps_its_own_pods() -> None:
    found = shared(account="cart")
    assert (one(found).endpoints, one(found).guard) == (("10.1.0.1",), Guard.ALL)
    assert (one(found, "web").endpoints, one(found, "web").guard) == ((), Guard.NONE)


def test_two_services_that_lead_one_port_number_to_different_ports_are_told_apart() -> None:
    pods = {"cart-1": "10.1.0.1", "cart-2": "10.1.0.2"}
    found = found_in(
        cart(
            services=[service("cart", [HTTP]), service("cart-admin", [HTTP], "10.96.0.2")],
            slices=[endpoints("cart", pods, {"http": 8080}), endpoints("cart-admin", pods, {"http": 9000})],
        )
    )
    assert one(found).addresses == ("10.96.0.1",)
    assert one(found, "cart-admin").guard is Guard.NONE


@pytest.mark.parametrize("slices", [[], [endpoints("ext", {"x": "192.0.2.1"}, {}, kind="")]])
def test_a_service_without_pods_stands_for_itself(slices: list[Json]) -> None:
    found = found_in(held(services=[service("ext", [{"port": 5432}])], slices=slices))
    assert one(found, "ext") == Service(
        ServiceName("shop", "ext"), Kind.DATASTORE, (Port(5432, "postgresql", 5432),), ("10.96.0.1",), guard=Guard.NONE
    )


def test_names_that_lead_elsewhere_and_ports_that_are_no_tcp_are_left_out() -> None:
    found = found_in(
        cart(
            services=[
                service("cart", [{"port": 53, "protocol": "UDP"}, HTTP]),
                {"metadata": {"name": "elsewhere"}, "spec": {"type": "ExternalName", "externalName": "bank.example"}},
            ]
        )
    )
    assert list(map(str, found.topology.services)) == ["shop/cart"]
    assert [port.number for port in one(found).ports] == [80]


def test_an_account_that_is_gone_has_no_identity_and_its_service_stands_for_itself() -> None:
    found = found_in(cart(accounts=[]))
    assert found.topology.by_workload == {}
    assert "the service account is gone" in found.gaps.notes[0]


def test_what_is_dialled_from_outside_is_a_gateway() -> None:
    assert one(found_in(cart(services=[service("cart", [HTTP], type="LoadBalancer")]))).kind is Kind.GATEWAY


def test_pods_of_a_namespace_with_injection_that_have_no_sidecar_are_found_and_others_not() -> None:
    pods = [
        pod("cart-1", "10.1.0.1"), pod("cart-2", "10.1.0.2", sidecar=False, owner=("StatefulSet", "cart")),
        pod("done", "10.1.0.3", sidecar=False, phase="Succeeded"),
    ]  # fmt: skip
    (found,) = found_in(cart(pods=pods)).gaps.replicas
    assert (found.namespace, found.replica, found.owner, found.workload) == ("shop", "cart-2", "StatefulSet/cart", "shop/cart")
    assert "kubectl rollout restart -n shop statefulset/cart" in found.reason
    assert found_in(cart(pods=pods, namespaces=[namespace("shop")])).gaps.replicas == ()


def test_a_pod_that_asks_for_a_sidecar_itself_is_found_too_and_none_of_where_nothing_is_injected() -> None:
    asks = pod("one", "10.1.0.1", sidecar=False, labels={"picket.dev/injection": "enabled"})
    (found,) = found_in(held(namespaces=[namespace("shop")], pods=[asks])).gaps.replicas
    assert found.replica == "one"
    system = held(namespaces=[namespace("kube-system", injection="enabled")], pods=[asks], into="kube-system")
    assert found_in(system).gaps.replicas == ()
    assert found_in(system).injected == frozenset()
    own = held(namespaces=[namespace("picket", injection="enabled")], pods=[asks], into="picket")
    assert len(found_in(own).gaps.replicas) == 1
    assert found_in(own, {"kube-system", "picket"}).gaps.replicas == ()


def test_namespaces_with_sidecars_are_those_that_want_them_and_those_with_a_pod_that_asked() -> None:
    assert found_in(cart(pods=[])).injected == {"shop"}
    assert found_in(cart(namespaces=[namespace("shop")])).injected == {"shop"}
    assert found_in(held(namespaces=[namespace("shop")], pods=[pod("x", "10.1.0.1", sidecar=False)])).injected == frozenset()


def test_the_image_of_a_pod_is_known_by_its_name_and_address() -> None:
    found = found_in(held(pods=[pod("cart-1", "10.1.0.1")]))
    assert found.images == {("shop/cart", "cart-1"): digest("cart"), ("shop/cart", "10.1.0.1"): digest("cart")}


def test_modes_are_read_from_namespaces() -> None:
    assert found_in(cart(namespaces=[namespace("shop", mode="audit"), namespace("other")])).modes == {"shop": "audit"}


def test_namespaces_say_where_approvals_are_written() -> None:
    spaces = [namespace("shop", approvals="enabled"), namespace("other", approvals="no"), namespace("bank")]
    assert found_in(cart(namespaces=spaces)).approvals == {"shop"}


NAMES = st.sampled_from(["cart", "web", "db"])
PODS = st.tuples(NAMES, st.integers(1, 3), NAMES, st.booleans())


@given(st.lists(PODS, max_size=6, unique_by=lambda made: made[:2]), st.lists(NAMES, unique=True), st.randoms())
def test_nobodys_calls_are_led_to_pods_that_kubernetes_would_not_lead_them_to(
    made: list[tuple[str, int, str, bool]], services: list[str], random: object
) -> None:
    """Whatever pods, accounts and services there are, in whatever order they were heard of."""
    pods = [pod(f"{app}-{n}", f"10.1.{ord(app[0])}.{n}", account, sidecar=has) for app, n, account, has in made]
    addresses = {name: f"10.96.0.{position + 1}" for position, name in enumerate(["cart", "web", "db"])}
    behind = {name: {f"{app}-{n}": f"10.1.{ord(app[0])}.{n}" for app, n, *_ in made if app == name} for name in services}
    seen = held(
        accounts=["cart", "web", "db"],
        services=[service(name, [HTTP], addresses[name]) for name in services],
        slices=[endpoints(name, found, {"http": 8080}) for name, found in behind.items()],
        pods=pods,
    )
    found = found_in(seen)
    for name in services:
        reached = found.topology.by_address.get(addresses[name])
        if reached is not None and reached.meshed:
            assert set(reached.endpoints) == set(behind[name].values())
            assert all(has for app, _, _, has in made if app == name)
            assert {account for app, _, account, _ in made if app == name} == {reached.name.name}
    items = list(seen.pods.items())
    random.shuffle(items)  # type: ignore[attr-defined]  # hypothesis' own Random
    assert found_in(replace(seen, pods=dict(items))) == found


@given(st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)))
def test_an_object_that_reads_is_one_that_a_topology_can_be_made_of(spec: dict[str, object]) -> None:
    for kind, field in ((objects.Pod, "pods"), (objects.Service, "services"), (objects.EndpointSlice, "slices")):
        try:
            found = msgspec.convert({"metadata": {"name": "x", "namespace": "shop"}, "spec": spec, "status": spec, **spec}, kind)
        except msgspec.ValidationError:
            continue
        found_in(replace(Objects(), **{field: {found.metadata.key: found}}))  # type: ignore[arg-type]  # the field of that kind
