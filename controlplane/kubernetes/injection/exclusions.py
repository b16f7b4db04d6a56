"""Traffic that a pod wants to go past Envoy, read from its annotations. Pure; whether it is heeded is decided elsewhere."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.kubernetes.injection.rules import EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_CIDRS, EXCLUDE_OUTBOUND_PORTS

MAX_ITEMS = 64
_KEYS = (EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_CIDRS)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is not captured."""

    inbound_ports: tuple[int, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    outbound_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadExclusion:
    """An annotation that says nothing that can be done, and why."""

    reason: str


def asked(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The annotations by which a pod asks for exclusions."""
    return tuple(key for key in _KEYS if annotations.get(key, "").strip())


def read(annotations: Mapping[str, str]) -> Exclusions | BadExclusion:
    """What they ask for."""
    ports: list[tuple[int, ...]] = []
    for key in (EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_PORTS):
        items = _items(annotations, key)
        if len(items) > MAX_ITEMS or not all(_is_port(item) for item in items):
            return BadExclusion(f"{key}: at most {MAX_ITEMS} port numbers with commas between, e.g. 9100,9200")
        ports.append(tuple(sorted({int(item) for item in items})))
    try:
        networks = {ipaddress.ip_network(item) for item in _items(annotations, EXCLUDE_OUTBOUND_CIDRS)}
    except ValueError as error:
        return BadExclusion(f"{EXCLUDE_OUTBOUND_CIDRS}: {str(error)[:120]}; write e.g. 10.1.0.0/16,2001:db8::/32")
    if len(networks) > MAX_ITEMS or any(network.prefixlen == 0 for network in networks):
        return BadExclusion(f"{EXCLUDE_OUTBOUND_CIDRS}: at most {MAX_ITEMS} networks, and none that holds every address")
    return Exclusions(ports[0], ports[1], tuple(sorted(map(str, networks))))


def _items(annotations: Mapping[str, str], key: str) -> list[str]:
    return [item.strip() for item in annotations.get(key, "").split(",") if item.strip()]


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536
