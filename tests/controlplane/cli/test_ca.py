"""`picket ca`: what is trusted, and a rotation by hand."""

from __future__ import annotations

import json

from controlplane.store.stored import SidecarRow
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane


def test_the_authority_is_shown_with_what_comes_next(plane: Plane, picket: Picket) -> None:
    shown = picket("ca", "show")
    assert shown.code == 0
    assert "active" in shown.out
    assert "next: prepare" in shown.out
    assert json.loads(picket("ca", "show", "--output", "json").out)["roots"]


def test_a_rotation_is_begun_and_its_steps_are_taken(plane: Plane, picket: Picket) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True))
    begun = picket("ca", "rotate")
    assert (begun.code, "prepared" in begun.out, "lack the new root: 1 of 1" in begun.out) == (0, True, True)
    assert begun.out.count("1 of 1") == 1
    assert "it waits for shop/cart cart-0" in begun.out
    refused = picket("ca", "rotate", "--step", "activate")
    assert (refused.code, "lack the new root" in refused.err) == (1, True)
    unsaid = picket("ca", "rotate", "--step", "activate", "--now")
    assert (unsaid.code, "--reason" in unsaid.err) == (2, True)
    forced = picket("ca", "rotate", "--step", "activate", "--now", "--reason", "stolen")
    assert (forced.code, "old" in forced.out, "next: retire" in forced.out) == (0, True, True)
