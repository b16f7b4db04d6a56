"""What the chart asks of Prometheus and Grafana: where metrics are, and questions that can have an answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from controlplane.api.roles import LEAST
from controlplane.identity.directory import AuthorityDirectory
from controlplane.kubernetes.names import TRUST_BUNDLE, TRUST_BUNDLE_KEY
from controlplane.plane import ControlPlane
from controlplane.policy.roles import Role
from controlplane.rotating import Rotating
from controlplane.settings import build_settings
from controlplane.store.sql import open_store
from sidecar import health
from tests.helm.charts import SETS, rendered

#: What Prometheus itself knows of whom it asks.
_TARGET = frozenset({"pod", "namespace", "instance", "job"})


@pytest.fixture
def metrics(tmp_path: Path) -> Mapping[str, frozenset[str]]:
    """Every metric that a control plane or a sidecar has, by the names that Prometheus knows, each with its labels."""
    topology = tmp_path / "topology.yaml"
    topology.write_text("services: []\n")
    store = open_store(f"sqlite:///{tmp_path}/picket.db")
    found: dict[str, frozenset[str]] = {}
    try:
        custody = AuthorityDirectory(tmp_path / "ca", "picket.local")

        async def registered() -> None:
            """Within a loop: gRPC's servers belong to one."""
            settings, kept = build_settings(data=tmp_path, topology=topology), await custody.load()
            registry = ControlPlane(settings, store, Rotating(settings, store, custody, kept))._metrics.registry
            collectors: Mapping[Any, list[str]] = registry._collector_to_names
            for collector, names in collectors.items():
                labels = frozenset(collector._labelnames)
                found.update({name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names})

        asyncio.run(registered())
    finally:
        store.close()
    source = (Path(health.__file__).with_name("pod.py")).read_text()
    return found | dict.fromkeys(re.findall(r'Figure\("(picket_[a-z_]+)"', source), frozenset())


def asked() -> Iterator[tuple[str, str]]:
    """Each question of an alert or of the dashboard, with the texts beside it that name labels."""
    release = rendered(SETS["monitored"])
    (rules,) = release.of("PrometheusRule")
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["expr"], " ".join(rule["annotations"].values())
    board = json.loads(release.one("ConfigMap", "picket-dashboard")["data"]["picket.json"])
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


@dataclass(frozen=True)
class Question:
    """What an expression asks: metrics over a time, metrics now, and which labels it names."""

    ranged: frozenset[str]
    instant: frozenset[str]
    labels: frozenset[str]


def read(expression: str) -> Question:
    """An expression as Prometheus reads it.

    Raises:
        ValueError: it would not take it.
    """
    found: list[promql.Expr] = []
    promql.walk(promql.parse(expression), found.append)
    ranges = [part.vector_selector for part in found if isinstance(part, promql.MatrixSelector)]
    selectors = [part for part in found if isinstance(part, promql.VectorSelector)]
    ranged = frozenset(str(selector.name) for selector in ranges)
    labels = {matcher.name for selector in (*ranges, *selectors) for matcher in selector.matchers.matchers}
    for part in found:
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            labels |= set(part.modifier.labels)
    return Question(ranged, frozenset(str(selector.name) for selector in selectors) - ranged, frozenset(labels))


def test_what_is_no_question_is_told() -> None:
    """The parser does see it, and what is asked."""
    with pytest.raises(ValueError, match="parenthesis"):
        read("sum by (x) (rate(picket_flows_total[5m])")
    whole = read('sum by (x) (rate(a_total{y="1"}[5m])) / b{z!="2"} > 1')
    assert whole == Question(frozenset({"a_total"}), frozenset({"b"}), frozenset({"x", "y", "z"}))


def test_every_question_is_one_and_about_metrics_and_labels_that_exist(metrics: Mapping[str, frozenset[str]]) -> None:
    """An alert on a metric that nobody has would never tell."""
    named: set[str] = set()
    for expression, told in asked():
        question = read(expression)
        names = question.ranged | question.instant
        assert names <= metrics.keys(), expression
        there = _TARGET.union(*(metrics[name] for name in names))
        assert question.labels | set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}", told)) <= there, expression
        named |= names
    assert len(named) > 10


def test_counters_alone_are_counted_by_time_and_only_by_time() -> None:
    """A rate of a gauge says nothing, and a counter alone says how long somebody runs."""
    counts = ("_total", "_bucket")
    for question in map(read, (expression for expression, _ in asked())):
        assert all(name.endswith(counts) for name in question.ranged), question
        assert not any(name.endswith(counts) for name in question.instant), question


def test_prometheus_asks_where_metrics_are() -> None:
    """With a viewer's token and the mesh's roots of the control plane, and of each sidecar by its port."""
    release = rendered(SETS["monitored"])
    (endpoint,) = release.one("ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    assert endpoint["tlsConfig"]["ca"]["configMap"] == {"name": TRUST_BUNDLE, "key": TRUST_BUNDLE_KEY}
    assert LEAST["health.metrics"] is Role.VIEWER
    (sidecars,) = release.of("PodMonitor")[0]["spec"]["podMetricsEndpoints"]
    assert sidecars["path"] == health.METRICS_PATH
