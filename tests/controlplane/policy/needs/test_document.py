"""`picket.yaml` is read, or told of with place and remedy."""

from __future__ import annotations

import pytest

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Place
from controlplane.policy.needs.document import Needs, read_needs
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.topology.model import ServiceName

TEXT = """\
apiVersion: picket.dev/v1alpha1
kind: ServiceNeeds
service: shop/checkout
owner: team-checkout
needs:
- to: shop/payment
  port: 50051
  protocol: grpc
  requests: [{method: POST, path: /pay.Payment/Charge}]
  reason: charges cards
- to: external/api.example.com
  port: 443
  optional: true
"""


def _read(text: str) -> tuple[tuple[Needs, ...], list[str]]:
    documents, findings = read_needs(text.encode(), "picket.yaml")
    return documents, [str(finding) for finding in findings]


def test_needs_are_read_with_their_place() -> None:
    (document,), findings = _read(TEXT)
    assert findings == []
    assert (document.workload, document.owner) == (WorkloadId("shop", "checkout"), "team-checkout")
    first, second = document.needs
    assert (first.destination, first.reason, first.optional, first.place) == (
        ServiceName("shop", "payment"), "charges cards", False, Place("picket.yaml", 6, 3),
    )  # fmt: skip
    assert (second.destination.name, second.optional, second.matches) == ("api.example.com", True, ())
    assert [rule for _, rule in document.rules()] == [
        Rule(document.workload, 50051, (HttpMatch("POST", "/pay.Payment/Charge"),)),
        Rule(document.workload, 443),
    ]


def test_a_service_may_need_nothing() -> None:
    (document,), _ = _read(TEXT[: TEXT.index("needs:")] + "needs: []\n")
    assert document.needs == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("service: shop/checkout", "service: checkout"), "'checkout' is not a workload: namespace/account"),
        (("to: shop/payment", "to: payment"), "'payment' is not a service: namespace/name"),
        (("requests: [{method: POST", "requests: [{methd: POST"), "did you mean method?"),
        (("optional: true", "optional: 'yes'"), "a text where true or false is wanted"),
        (("kind: ServiceNeeds", "kind: TrafficPolicy"), "'TrafficPolicy' where ServiceNeeds is wanted"),
    ],
)
def test_what_does_not_read_is_told(change: tuple[str, str], said: str) -> None:
    documents, findings = _read(TEXT.replace(*change))
    assert documents == ()
    assert said in findings[0]


def test_a_file_that_is_no_yaml_is_told_of_and_objects_of_others_are_left_alone() -> None:
    assert _read("a: [")[1]
    assert _read("apiVersion: v1\nkind: ConfigMap\n") == ((), [])
