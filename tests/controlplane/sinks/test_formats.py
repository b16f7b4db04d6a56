"""Whatever a caller sent, a receiver reads one event as one event."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Verdict
from controlplane.policy.proofs import Proof, Status, Target
from controlplane.sinks.event import Event, Filter, Kind, of_failed_proof, of_incident, of_violation
from controlplane.sinks.formats import MAX_LINE_BYTES, to_cef, to_lines, to_otlp, to_slack
from controlplane.topology.model import ServiceName
from controlplane.violations.handling import Incident
from controlplane.violations.incidents import Found
from controlplane.violations.incidents import Kind as IncidentKind
from tests.controlplane.sinks.conftest import PAY, event, violation

FOUND = Found(IncidentKind.SCAN, "shop/cart", ("shop/cart",), ("ops/redis:6379", "shop/pay:443"), 1, 2, 9, 9, 1_000, 2_000, "many")
TEXTS = st.text(max_size=60) | st.sampled_from(["a|b", "a=b\\", "x\nCEF:0|", "x\r\n<1>1", "\u2028y", "<https://evil|x>"])


@given(path=TEXTS, host=TEXTS, reason=TEXTS)
def test_no_text_of_a_caller_begins_another_line(path: str, host: str, reason: str) -> None:
    one = of_violation(violation(edge=PAY._replace(path=path), host=host, reason=reason))
    line = to_cef(one, "host")
    assert len(line.decode().splitlines()) == 1
    assert len(line) <= MAX_LINE_BYTES
    assert line.count(b"CEF:0|") >= 1
    assert len(to_lines([one]).splitlines()) == 1
    text = json.loads(to_slack([one]))["text"]
    assert "<" not in text.replace("&lt;", "")
    json.loads(to_otlp([one]))


@given(path=st.text(alphabet="a=\\| \n", max_size=30))
def test_a_value_of_cef_reads_back(path: str) -> None:
    """Up to control characters, which are spaces."""
    line = to_cef(of_violation(violation(edge=PAY._replace(path=path))), "host").decode()
    if not path:
        return
    value = line.partition(" request=")[2].partition(" cs1Label=")[0].partition(" reason=")[0]
    plain = "".join(c if c.isprintable() else " " for c in path)
    assert value.replace("\\=", "=").replace("\\\\", "\\") == plain


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Filter(frozenset({Kind.VIOLATION})), True),
        (Filter(frozenset({Kind.INCIDENT})), False),
        (Filter(frozenset(Kind), namespaces=frozenset({"default"})), True),
        (Filter(frozenset(Kind), namespaces=frozenset({"shop", "x"})), True),
        (Filter(frozenset(Kind), namespaces=frozenset({"ops"})), False),
        (Filter(frozenset(Kind), denied_only=True), True),
    ],
)
def test_a_filter_takes_what_it_says(wanted: Filter, takes: bool) -> None:
    assert wanted.wants(event()) is takes


def test_what_only_would_be_denied_is_told_apart() -> None:
    would = of_violation(violation(verdict=Verdict.WOULD_DENY))
    assert not Filter(frozenset(Kind), denied_only=True).wants(would)
    assert b"|Connection would be denied|3|" in to_cef(would, "host")


def test_an_incident_is_told_with_what_it_is() -> None:
    one: Event = of_incident(Incident(4, FOUND), Kind.INCIDENT)
    assert one.namespaces == {"shop", "ops"}
    assert b"|incident|Incident|8|" in to_cef(one, "host")
    assert json.loads(to_lines([one]))["incident"] == "scan"
    assert json.loads(to_slack([event(), one]))["text"].splitlines()[0].startswith("*incident 4, scan: many*")


def test_a_failed_proof_is_told_in_every_format() -> None:
    target = Target(ServiceName("shop", "cart"), 7070, "10.0.0.2")
    proof = Proof(5, target, 3, "picket", 5, Status.FAILED, "shop/ads", reason="let through: HTTP 200", ended_ms=9)
    failed = of_failed_proof(proof)
    line = to_cef(failed, "host").decode()
    for text in ("|proof-failed|Enforcement failed|8|", "dhost=shop/cart", "dst=10.0.0.2", "reason=let through: HTTP 200"):
        assert text in line
    assert b"*ENFORCEMENT FAILED at shop/cart:7070" in to_slack([failed])
    assert b"picket.proof-failed" in to_otlp([failed])
    assert Filter(frozenset(Kind), denied_only=True, namespaces=frozenset({"shop"})).wants(failed)


def test_an_address_of_a_peer_is_its_source_and_a_name_is_not() -> None:
    edge = EdgeKey("ip:10.0.0.9", "shop/pay", 443, "tcp")
    assert b" src=10.0.0.9 " in to_cef(of_violation(violation(edge=edge, peer_address="10.0.0.9")), "host")
    assert b" src=" not in to_cef(of_violation(violation(edge=edge, peer_address="x y")), "host")
