"""`TrafficTest` documents are read, or told of with place and remedy."""

from __future__ import annotations

import pytest

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.expectations.document import Expectations, Sent, Source, read_expectations
from controlplane.policy.findings import Place
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName

TEXT = """\
apiVersion: picket.dev/v1alpha1
kind: TrafficTest
policy: [policies/]
mode: audit
cases:
- name: checkout charges
  from: [shop/checkout, 10.0.0.1]
  to: shop/payment
  port: 50051
  requests: [{method: POST, path: /pay.Payment/Charge}]
  expect: allow
- from: [shop/web]
  to: shop/db
  port: 5432
  expect: deny
"""


def _read(text: str) -> tuple[tuple[Expectations, ...], list[str]]:
    documents, findings = read_expectations(text.encode(), "t.yaml")
    return documents, [str(finding) for finding in findings]


def test_cases_are_read_with_their_place() -> None:
    (document,), findings = _read(TEXT)
    assert findings == []
    assert (document.policy, document.mode) == (("policies/",), Mode.AUDIT)
    first, second = document.cases
    assert first.sources == (Source(WorkloadId("shop", "checkout")), Source(address="10.0.0.1"))
    assert (first.destination, first.port, first.requests) == (
        ServiceName("shop", "payment"), 50051, (Sent("POST", "/pay.Payment/Charge"),),
    )  # fmt: skip
    assert (second.name, second.place, second.requests) == ("", Place("t.yaml", 12, 3), (Sent(),))


def test_services_enforce_where_nothing_is_said() -> None:
    (document,), _ = _read(TEXT.replace("mode: audit\n", ""))
    assert document.mode is Mode.ENFORCE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("shop/checkout", "checkout"), "'checkout' is not of the form namespace/account"),
        (("/pay.Payment/Charge", "/pay?x=1"), "is not a path as it arrives"),
        (("/pay.Payment/Charge", "/a/../b"), "is not a path as it arrives"),
        (("/pay.Payment/Charge", "'/users/{id}'"), "is not a path as it arrives"),
        (("expect: allow", "expect: allowed"), "'allowed' is not one of allow, deny, would-deny; did you mean allow?"),
        (("mode: audit", "mode: quarantine"), "'quarantine' is not one of learn, audit, enforce"),
        (("kind: TrafficTest", "kind: TrafficPolicy"), "'TrafficPolicy' where TrafficTest is wanted"),
        (("cases:", "case:"), "did you mean cases?"),
    ],
)
def test_what_does_not_read_is_told(change: tuple[str, str], said: str) -> None:
    documents, findings = _read(TEXT.replace(*change))
    assert documents == ()
    assert said in findings[0]


def test_a_file_that_is_no_yaml_is_told_of_and_objects_of_others_are_left_alone() -> None:
    assert _read("a: [")[1]
    assert _read("apiVersion: v1\nkind: ConfigMap\n") == ((), [])
