"""A workload cannot make up instances without end, and one that scales keeps being served."""

from __future__ import annotations

import grpc

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.instances import FORGET_SECONDS, Instances

WEB, CART = WorkloadId("shop", "web"), WorkloadId("shop", "cart")


def test_known_instances_are_always_served_and_one_too_many_is_not() -> None:
    instances = Instances(limit=3, clock=lambda: 0.0)
    for name in "abcabc":
        assert instances.refusal(WEB, name) is None
    ending = instances.refusal(WEB, "d")
    assert ending is not None
    assert ending.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ending.reason == "shop/web had 3 instances within an hour; no other is served"
    assert instances.refusal(WEB, "a") is None
    assert instances.refusal(CART, "d") is None


def test_instances_that_are_gone_make_room() -> None:
    now = 0.0
    instances = Instances(limit=2, clock=lambda: now)
    instances.refusal(WEB, "a")
    now = FORGET_SECONDS
    instances.refusal(WEB, "b")
    assert instances.refusal(WEB, "c") is None
    assert instances.refusal(WEB, "d") is not None
    assert instances.refusal(WEB, "b") is None


def test_pods_that_come_and_go_for_months_are_not_remembered() -> None:
    """Each has a name of its own, and a workload is seldom at its limit."""
    now = 0.0
    instances = Instances(limit=1_000, clock=lambda: now)
    for hour in range(5):
        now = hour * (FORGET_SECONDS + 1)
        for workload in (WEB, CART) if hour < 3 else (WEB,):
            for number in range(10):
                instances.refusal(workload, f"{hour}-{number}")
    assert instances.remembered == 10
