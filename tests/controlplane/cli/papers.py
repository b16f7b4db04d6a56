"""A small repository of policy files, as a team would keep it."""

from __future__ import annotations

from pathlib import Path

import pytest

CART = """\
# Owned by team-cart.
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: cart
  namespace: shop
spec:
  rules:
  - from:
    - workload: default/frontend  # the site
    ports: [7070]
    protocol: grpc
    http:
    - method: POST
      path: /shop.Cart/Get
    lease:
      owner: team-cart
"""
TESTS = """\
apiVersion: picket.dev/v1alpha1
kind: TrafficTest
policy: [../policies]
cases:
- name: the site reads
  from: [default/frontend]
  to: shop/cart
  port: 7070
  requests: [{method: POST, path: /shop.Cart/Get}]
  expect: allow
- from: [shop/pay]
  to: shop/cart
  port: 7070
  requests: [{method: POST, path: /shop.Cart/Get}]
  expect: deny
"""
NEEDS = """\
apiVersion: picket.dev/v1alpha1
kind: ServiceNeeds
service: default/frontend
needs:
- to: shop/cart
  port: 7070
  protocol: grpc
  requests: [{method: POST, path: /shop.Cart/Get}]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: policies, tests of them, and what a service needs."""
    for name, text in (("policies/cart.yaml", CART), ("tests/cart.yaml", TESTS), ("picket.yaml", NEEDS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path
