"""Lint tells what is doubtful, where it is, and how to say that it is meant."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given

from controlplane.policy.lint import catalogue
from controlplane.policy.lint.run import lint
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.traffic_text import write_documents
from controlplane.topology.document import parse_topology
from tests.controlplane.policy.traffic import documents

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
HEAD = "apiVersion: picket.dev/v1alpha1\nkind: TrafficPolicy\nmetadata:\n  name: cart\n  namespace: shop\nspec:\n"
TOPOLOGY = parse_topology(
    b"""\
services:
- name: cart
  namespace: shop
  kind: service
  ports: [{port: 80, protocol: http}, {port: 70, protocol: redis}, {port: 90, protocol: auto}]
- {name: web, namespace: shop, kind: service, ports: []}
- {name: pay, namespace: bank, kind: service, ports: []}
- {name: db, namespace: outside, kind: external, ports: [{port: 5432, protocol: postgres}]}
""",
    "mesh.yaml",
).topology
LEASE = "    lease: {owner: team-cart}\n"


UNKNOWN = "9:7 unknown-workload spec.rules[0].from[0].workload"


def _rule(source: str = "workload: shop/web", rest: str = "ports: [80]", lease: str = LEASE) -> str:
    return f"  - from:\n    - {source}\n    {rest}\n{lease}"


def _found(text: str, *, beside: bool = False) -> list[str]:
    linted = lint([("f.yaml", text.encode())], NOW, TOPOLOGY if beside else None)
    return [f"{f.place.line}:{f.place.column} {f.rule} {f.key}" for f in linted.findings]


def test_a_good_document_has_no_findings() -> None:
    text = HEAD + "  rules:\n" + _rule(rest="ports: [80]\n    http:\n    - method: GET\n      path: /cart/{id}")
    assert _found(text) == []
    assert _found(text, beside=True) == []


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (_rule(lease=""), ["8:5 missing-owner spec.rules[0].lease.owner"]),
        (_rule(lease="    lease: {reason: x}\n"), ["8:5 missing-owner spec.rules[0].lease.owner"]),
        (_rule(lease="    lease: {owner: x, expires: 2026-05-31}\n"), ["11:5 expired-lease spec.rules[0].lease.expires"]),
        (_rule(lease="    lease: {owner: x, expires: 2026-06-01}\n"), ["11:5 lease-ends spec.rules[0].lease.expires"]),
        (_rule(lease="    lease: {owner: x, expires: 2026-06-30}\n"), []),
        (
            _rule("cidr: 0.0.0.0/0"),
            ["9:7 plaintext-to-mesh spec.rules[0].from[0]", "9:7 wide-network spec.rules[0].from[0].cidr"],
        ),
        (_rule("cidr: 10.0.0.0/8"), ["9:7 plaintext-to-mesh spec.rules[0].from[0]"]),
        (_rule(rest="ports: [80]\n    http: [{path: '/*'}]"), ["11:12 wide-path spec.rules[0].http[0].path"]),
        (_rule(rest="ports: [80]\n    http: [{path: '/a//../b'}]"), ["11:12 never-matches spec.rules[0].http[0].path"]),
        (_rule(rest="ports: [80]\n    http: [{path: '/%41'}]"), ["11:12 never-matches spec.rules[0].http[0].path"]),
        (_rule(rest="ports: [80]\n    http: [{path: '/%2F/*'}]"), ["11:12 never-matches spec.rules[0].http[0].path"]),
        (_rule(rest="ports: [80]\n    http: [{path: '/%2F'}]"), ["11:12 ambiguous-path spec.rules[0].http[0].path"]),
        (
            _rule(rest="ports: [80]\n    http: [{method: GET}, {method: GET, path: /a}]"),
            ["11:27 repeated-request spec.rules[0].http[1]"],
        ),
        (_rule(rest="ports: [80]\n    http: [{method: GET}, {method: GET}]"), ["11:27 repeated-request spec.rules[0].http[1]"]),
        (_rule(rest="ports: [80]\n    protocol: http"), ["8:5 whole-port spec.rules[0]"]),
        (_rule(rest="ports: [70]\n    protocol: redis\n    http: [{method: GET}]"), ["12:5 never-matches spec.rules[0].http"]),
    ],
)
def test_each_doubtful_rule_is_found(rule: str, found: list[str]) -> None:
    assert _found(f"{HEAD}  rules:\n{rule}") == found


def test_a_rule_that_another_allows_is_found_once() -> None:
    narrow = _rule(rest="ports: [80]\n    http: [{method: GET}]")
    assert _found(f"{HEAD}  rules:\n{narrow}{_rule()}") == ["8:5 shadowed-rule spec.rules[0]"]
    assert _found(f"{HEAD}  rules:\n{_rule()}{narrow}") == ["12:5 shadowed-rule spec.rules[1]"]
    assert _found(f"{HEAD}  rules:\n{_rule()}{_rule()}") == ["12:5 shadowed-rule spec.rules[1]"]
    assert _found(f"{HEAD}  rules:\n{_rule()}{_rule(rest='ports: [81]')}") == []


def test_modes_that_make_rules_idle_or_a_service_silent_are_told() -> None:
    assert _found(f"{HEAD}  mode: quarantine\n  rules:\n{_rule()}") == ["1:1 quarantined-rules spec.mode"]
    assert _found(f"{HEAD}  mode: enforce\n") == ["1:1 closed-service spec.rules"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEAD.replace("shop", "store") + "  rules: []\n", ["1:1 unknown-service metadata.name"]),
        (HEAD.replace("namespace: shop", "namespace: external") + "  rules: []\n", []),
        (f"{HEAD}  rules:\n{_rule('workload: shop/pay', 'ports: [90]')}", [UNKNOWN]),
        (f"{HEAD}  rules:\n{_rule('workload: outside/db', 'ports: [90]')}", [UNKNOWN]),
        (f"{HEAD}  rules:\n{_rule(rest='ports: [81]')}", ["10:5 unknown-port spec.rules[0].ports"]),
        (f"{HEAD}  rules:\n{_rule(rest='ports: [70]')}", []),
        (
            f"{HEAD}  rules:\n" + _rule(rest="ports: [70]\n    protocol: mysql"),
            ["11:5 protocol-mismatch spec.rules[0].protocol"],
        ),
        (f"{HEAD}  rules:\n" + _rule(rest="ports: [70]\n    protocol: tcp"), []),
        (f"{HEAD}  rules:\n" + _rule(rest="ports: [80]\n    protocol: grpc"), ["8:5 whole-port spec.rules[0]"]),
        (f"{HEAD}  rules:\n" + _rule(rest="ports: [90]\n    protocol: grpc"), []),
        (
            HEAD.replace("cart", "db").replace("shop", "outside") + "  rules:\n" + _rule("cidr: 10.0.0.0/8", "ports: [5432]"),
            [],
        ),
    ],
)  # fmt: skip
def test_each_name_that_the_topology_does_not_know_is_found(text: str, found: list[str]) -> None:
    assert _found(text, beside=True) == found


def test_a_name_in_another_namespace_is_suggested() -> None:
    text = f"{HEAD}  rules:\n{_rule('workload: shop/pay')}"
    findings = lint([("f.yaml", text.encode())], NOW, TOPOLOGY).findings
    assert "did you mean bank/pay?" in [finding.remedy for finding in findings]


def test_two_documents_of_one_service_are_told_of_across_files() -> None:
    text = f"{HEAD}  rules: []\n"
    found = lint([("a.yaml", text.encode()), ("b.yaml", text.encode())], NOW).findings
    assert [str(finding) for finding in found] == [
        "b.yaml:1:1: error: shop/cart has a document at a.yaml:1 already; merge them [duplicate-document]"
    ]


def test_files_that_do_not_read_and_objects_of_others_are_told_of() -> None:
    found = lint([("a.yaml", b"a: ["), ("b.yaml", b"apiVersion: v1\nkind: Service\n"), ("c.yaml", b"kind: X\n")], NOW).findings
    assert [(finding.place.file, finding.rule) for finding in found] == [
        ("a.yaml", "invalid"), ("b.yaml", "other-kind"), ("c.yaml", "invalid"), ("c.yaml", "invalid"), ("c.yaml", "invalid"),
        ("c.yaml", "invalid"),
    ]  # fmt: skip


def test_a_comment_with_a_reason_silences_what_it_names() -> None:
    wide = _rule("cidr: 0.0.0.0/0  # picket: ignore[wide-network, plaintext-to-mesh] the public entry")
    assert _found(f"{HEAD}  rules:\n{wide}") == []
    above = "  # picket: ignore[missing-owner] nobody yet\n  # see TICKET-1\n\n" + _rule(lease="")
    assert _found(f"{HEAD}  rules:\n{above}") == []


def test_a_comment_without_a_reason_silences_nothing_and_one_in_vain_is_told_of() -> None:
    bare = "  # picket: ignore[missing-owner]\n" + _rule(lease="")
    assert _found(f"{HEAD}  rules:\n{bare}") == ["8:3 bare-ignore ", "9:5 missing-owner spec.rules[0].lease.owner"]
    vain = "  # picket: ignore[wide-path] in vain\n" + _rule()
    assert _found(f"{HEAD}  rules:\n{vain}") == ["8:3 unused-ignore "]
    broken = _rule(rest="ports: [0]  # picket: ignore[invalid] no")
    assert _found(f"{HEAD}  rules:\n{broken}") == ["10:13 invalid spec.rules[0].ports[0]"]


@given(documents())
def test_findings_are_in_order_and_of_known_rules(given: tuple[TrafficPolicy, ...]) -> None:
    found = lint([("f.yaml", write_documents(given).encode())], NOW, TOPOLOGY).findings
    assert [finding.place for finding in found] == sorted(finding.place for finding in found)
    known = {rule.name: rule.severity for rule in catalogue.LINT_RULES}
    assert all(known[finding.rule] is finding.severity for finding in found)
