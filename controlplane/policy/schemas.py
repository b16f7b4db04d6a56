"""The published JSON Schemas, one per kind of document.

Files of the same content lie beside this one, for editors: `picket policy schema KIND > controlplane/policy/KIND.schema.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controlplane.policy.expectations import document as expectations
from controlplane.policy.needs import document as needs
from controlplane.policy.traffic_policy import KIND
from controlplane.policy.traffic_shape import SCHEMA_ID, TRAFFIC_POLICY, published_schema


def _traffic_policy() -> dict[str, Any]:
    return published_schema(TRAFFIC_POLICY, SCHEMA_ID, "Who may call one service")


def _traffic_test() -> dict[str, Any]:
    return published_schema(expectations.TRAFFIC_TEST, expectations.SCHEMA_ID, "What is expected of policies")


def _service_needs() -> dict[str, Any]:
    return published_schema(needs.SERVICE_NEEDS, needs.SCHEMA_ID, "What a service needs of others")


#: How to make the schema of each kind.
SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    KIND: _traffic_policy,
    expectations.KIND: _traffic_test,
    needs.KIND: _service_needs,
}
