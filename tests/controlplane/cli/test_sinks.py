"""`picket sinks`: how each sink does."""

from __future__ import annotations

from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import Plane


def test_without_sinks_it_says_how_to_have_some(plane: Plane, picket: Picket) -> None:
    assert picket("sinks").out == "No sinks: --sinks names a file of them to `picket controlplane`.\n"
    assert picket("sinks", "-o", "json").json == {"sinks": []}
