"""Documents in canonical form: keys in the schema's order, every comment kept, nothing said differently."""

from __future__ import annotations

from hypothesis import given

from controlplane.policy.findings import Finding
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.traffic_text import format_text, write_documents
from tests.controlplane.policy.traffic import documents
from tests.controlplane.policy.written.scribbles import files

LOOSE = """\
# Owned by team-cart.
kind: TrafficPolicy
apiVersion: "picket.dev/v1alpha1"
spec:
    rules:
        # the shop
        - ports: [ 70 ]
          http: [{path: "/cart/{id}", method: GET}] # read only
          from:
              - {workload: shop/frontend} # web
        # batch
        - from: [{cidr: 10.0.0.0/8}]
          # nightly
          ports: [71]
          lease: {expires: 2026-12-31, owner: 'team-batch'}
    mode: enforce
metadata: {namespace: shop, name: cart}
"""
CANONICAL = """\
# Owned by team-cart.
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: cart
  namespace: shop
spec:
  mode: enforce
  rules:
  # the shop
  - from:
    # web
    - workload: shop/frontend
    ports: [70]
    http:  # read only
    - method: GET
      path: /cart/{id}
  # batch
  - from:
    - cidr: 10.0.0.0/8
    # nightly
    ports: [71]
    lease:
      owner: team-batch
      expires: 2026-12-31
"""


def test_keys_are_put_in_order_with_their_comments() -> None:
    assert format_text(LOOSE.encode(), "cart.yaml") == CANONICAL
    assert format_text(CANONICAL.encode(), "cart.yaml") == CANONICAL


def test_a_document_that_does_not_read_is_still_formatted() -> None:
    """Formatting helps to see what is wrong, and lint says what."""
    text = format_text(b"kind:   TrafficPolicy\ncolour:  red # why\nspec: [1,   2]\n", "f.yaml")
    assert text == "kind: TrafficPolicy\nspec: [1, 2]\ncolour: red  # why\n"


def test_files_of_others_and_files_that_are_no_yaml_are_left_alone() -> None:
    other = format_text(b"apiVersion: v1\nkind:    Service\n---\nkind:   TrafficPolicy\n", "f.yaml")
    assert isinstance(other, Finding)
    assert other.rule == "other-kind"
    broken = format_text(b"a: [", "f.yaml")
    assert isinstance(broken, Finding)
    assert broken.rule == "invalid"


@given(documents())
def test_written_documents_are_canonical(given: tuple[TrafficPolicy, ...]) -> None:
    text = write_documents(given)
    assert format_text(text.encode(), "f.yaml") == text


@given(files())
def test_any_yaml_is_formatted_once_and_for_all(text: str) -> None:
    made = format_text(text.encode(), "f.yaml")
    assert isinstance(made, str)
    assert format_text(made.encode(), "f.yaml") == made


def test_what_a_document_says_is_kept() -> None:
    assert read_documents(CANONICAL.encode(), "f").documents == read_documents(LOOSE.encode(), "f").documents
