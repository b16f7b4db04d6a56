"""Names and addresses as logs write them."""

from __future__ import annotations

import pytest

from controlplane.flows.imports.model import http_protocol, split_address, split_host, without_query, workload_of_pod


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("productpage-v1-6b746f74dc-9stvs", "productpage-v1"), ("node-local-dns-r99x7", "node-local-dns"), ("redis-0", "redis"),
        ("web", "web"), ("my-api", "my-api"), ("kube-dns-b4f5c58c7-7qmtw", "kube-dns"), ("", ""),
    ],
)  # fmt: skip
def test_a_pods_name_loses_what_was_generated(pod: str, workload: str) -> None:
    assert workload_of_pod(pod) == workload


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("::1:80", ("::1", 80)), ("host:80", ("", 0)),
        ("10.0.0.1", ("", 0)), ("10.0.0.1:x", ("10.0.0.1", 0)), ("-", ("", 0)), ("envoy://internal/x", ("", 0)),
    ],
)  # fmt: skip
def test_an_address_and_port(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [("Cart:70", ("cart", 70)), ("cart.shop.", ("cart.shop", 0)), ("10.0.0.1:80", ("", 80)), ("[::1]:80", ("", 80)), ("", ("", 0))],
)
def test_a_host_and_port(text: str, parts: tuple[str, int]) -> None:
    assert split_host(text) == parts


def test_a_path_without_its_query() -> None:
    assert [without_query(path) for path in ("/a?b#c", "/a#b?c", "/a")] == ["/a", "/a", "/a"]


def test_what_can_hardly_be_anything_but_grpc() -> None:
    assert http_protocol("HTTP/2", "POST", "/shop.v1.Cart/Get") == "grpc"
    for version, method, path in (("HTTP/1.1", "POST", "/a.B/C"), ("HTTP/2", "GET", "/a.B/C"), ("HTTP/2", "POST", "/v1/carts")):
        assert http_protocol(version, method, path) == "http"
