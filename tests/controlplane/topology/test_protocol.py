"""What a declared protocol means for a proxy."""

from __future__ import annotations

import pytest

from controlplane.topology.protocol import Handling, handling, server_speaks_first


@pytest.mark.parametrize(
    ("protocol", "how"),
    [("http", Handling.HTTP), ("http2", Handling.HTTP), ("grpc", Handling.HTTP), ("auto", Handling.INSPECT),
     ("tcp", Handling.OPAQUE), ("redis", Handling.OPAQUE), ("https", Handling.OPAQUE), ("never-heard-of", Handling.OPAQUE)],
)  # fmt: skip
def test_only_http_and_grpc_are_read_and_only_auto_is_inspected(protocol: str, how: Handling) -> None:
    assert handling(protocol) is how


@pytest.mark.parametrize(
    ("protocol", "first"), [("mysql", True), ("smtp", True), ("redis", False), ("postgres", False), ("http", False)]
)
def test_who_speaks_first(protocol: str, *, first: bool) -> None:
    assert server_speaks_first(protocol) is first
