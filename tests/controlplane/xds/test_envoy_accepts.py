"""A real Envoy takes every snapshot of random policies in random topologies, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Policy
from controlplane.topology.model import Kind, Service, Topology
from tests.controlplane.xds.worlds import MESHED, policies, topologies
from tests.harness.envoy import EnvoyUnderTest, envoy_under_test
from tests.harness.namespace import missing, namespace

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=f"a network namespace needs {missing()}"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def envoy() -> AsyncIterator[EnvoyUnderTest]:
    """In a namespace of its own: snapshots want fixed ports."""
    alone = Topology.of([Service(MESHED[0], Kind.SERVICE)])
    async with namespace([], 15001) as inside, envoy_under_test(alone, WorkloadId(*MESHED[0]), Policy(), inside.enter) as running:
        yield running


@settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(policy=policies(), topology=topologies())
async def test_envoy_takes_every_snapshot(envoy: EnvoyUnderTest, policy: Policy, topology: Topology) -> None:
    envoy.topology = topology
    await envoy.publish(policy)
