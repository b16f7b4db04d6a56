"""What a port speaks: what is said counts before what is usual, and what nobody says is looked at."""

from __future__ import annotations

import pytest

from controlplane.kubernetes.ports import OPAQUE_PORTS, protocol_of
from controlplane.topology.protocol import Handling, handling


@pytest.mark.parametrize(
    ("number", "target", "name", "said", "protocol"),
    [
        (80, 8080, "http", None, "http"),
        (80, 8080, "http-web", None, "http"),
        (80, 8080, "web", None, "auto"),
        (80, 8080, None, None, "auto"),
        (7070, 7070, "grpc-api", None, "grpc"),
        (443, 8443, "https", None, "https"),
        (80, 8080, "http", "kubernetes.io/h2c", "http2"),
        (80, 8080, "http", "grpc", "grpc"),
        (80, 8080, "grpc", "example.com/own", "grpc"),
        (80, 8080, "", "kubernetes.io/ws", "http"),
        (3306, 3306, None, None, "mysql"),
        (33060, 3306, "db", None, "mysql"),
        (6379, 16379, "tls-redis", None, "tls"),
        (5432, 5432, "http", None, "http"),  # its owner says so
        (9300, 9300, "", "", "tcp"),
    ],
)
def test_the_protocol_of_a_port(number: int, target: int, name: str | None, said: str | None, protocol: str) -> None:
    assert protocol_of(number, target, name, said) == protocol


@pytest.mark.parametrize("number", [25, 587, 3306, 4444, 5432, 6379, 9300, 11211])
def test_ports_where_servers_speak_first_are_bytes(number: int) -> None:
    assert handling(protocol_of(number, number, None, None)) is Handling.OPAQUE
    assert number in OPAQUE_PORTS
