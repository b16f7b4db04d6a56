"""AWS VPC flow logs: who connected where, by address."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.model import Imported, Unused
from controlplane.flows.imports.vpc import VpcLog
from controlplane.flows.model import Verdict
from tests.controlplane.flows.imports.samples import VPC, flows, opened, reasons, records

RECORD = "2 123456789010 eni-1 172.31.16.139 172.31.16.21 {source} {port} {protocol} 20 4249 141853001 141853007 {action} OK"


def _line(source: str = "20641", port: str = "22", protocol: str = "6", action: str = "ACCEPT") -> str:
    return RECORD.format(source=source, port=port, protocol=protocol, action=action)


def test_the_sample_is_read_without_loss() -> None:
    found = records(VpcLog(), opened(VPC).read().splitlines())
    assert [(flow.source.address, flow.destination.address, flow.port, flow.verdict) for flow in flows(found)] == [
        ("172.31.16.139", "172.31.16.21", 22, Verdict.ALLOWED),
        ("172.31.9.69", "172.31.9.12", 3389, Verdict.DENIED),
    ]
    assert reasons(found) == Counter({"an interval without data": 1})


def test_a_header_says_where_the_fields_are() -> None:
    header = "dstaddr srcaddr dstport srcport protocol action end"
    (found,) = flows(records(VpcLog(), [header, "10.0.0.2 10.0.0.1 80 40000 6 ACCEPT 1418530070"]))
    assert (found.source.address, found.destination.address, found.port, found.at_ms) == ("10.0.0.1", "10.0.0.2", 80, 1418530070000)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (_line(source="443", port="49152"), "a reply"),
        (_line(protocol="17"), "not TCP"),
        (_line(action="MAYBE"), "not a line of this format"),
        (_line(port="x"), "not a line of this format"),
        (_line(port="0"), "no port"),
        ("2 1 2", "not a line of this format"),
    ],
)
def test_what_is_not_used_says_why(line: str, reason: str) -> None:
    assert records(VpcLog(), [line]) == [Unused(reason)]


def test_a_format_without_ports_is_told() -> None:
    assert records(VpcLog(), ["srcaddr dstaddr", "10.0.0.1 10.0.0.2"]) == [Unused("a format without addresses and ports")]


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6), min_size=14, max_size=14))
def test_any_line_is_one_record(parts: list[str]) -> None:
    if not {"srcaddr", "dstaddr"} <= set(parts):
        (found,) = records(VpcLog(), [" ".join(parts)])
        assert isinstance(found, (Imported, Unused))
