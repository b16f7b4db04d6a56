"""`picket rollout` and what `--staged` tells on the command line."""

from __future__ import annotations

import pytest

from controlplane.store.stored import SidecarRow
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import GET_CART, Plane


@pytest.fixture
def staged(plane: Plane, picket: Picket) -> Plane:
    plane.learn(GET_CART)
    for workload, instance in (("shop/cart", "cart-0"), ("default/frontend", "front-0")):
        plane.sidecar(SidecarRow(workload, instance, connected=True))
    assert picket("proposals").code == 0
    told = picket("approve", "1", "--staged", "--hold", "5m", "--max-denials", "2")
    assert told.code == 0, told.err
    assert told.out.startswith("revision 1 begins in one sidecar of each workload")
    return plane


def test_one_is_shown_with_its_sidecars(staged: Plane, picket: Picket) -> None:
    shown = picket("rollout", "show", "1").out
    assert "revision 1 instead of 0" in shown
    assert "each stage is watched for 300 s; more than 2 new denials take it back" in shown
    assert "cart-0" in shown
    assert "revision 1" in picket("rollout", "list").out
    assert "in rollout" in picket("sidecars").out


def test_it_is_paused_resumed_and_stopped(staged: Plane, picket: Picket) -> None:
    assert picket("rollout", "pause", "1").out == "rollout 1 waits in its stage\n"
    assert "paused by" in picket("rollout", "list").out
    assert "paused by" in picket("rollout", "show", "1").out
    assert picket("rollout", "resume", "1").out == "rollout 1 goes on\n"
    assert picket("rollout", "stop", "1").out == "revision 1 is in force nowhere\n"
    assert picket("rollout", "stop", "1").code == 1
    assert picket("rollout", "show", "9").code == 1
