"""Addresses of a Workload API: those of the standard that are Unix sockets, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.spiffe.endpoint import how_to_register, read_address


@pytest.mark.parametrize("address", ["unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"])
def test_a_socket_by_its_path(address: str) -> None:
    assert read_address(address) == "unix:/run/spire/agent.sock"


@pytest.mark.parametrize(
    "address",
    ["", "/run/agent.sock", "unix:agent.sock", "unix://run/agent.sock", "unix:///a?b", "unix:///a#b", "unix:///a\n",
     "tcp://127.0.0.1:8081", "unix:///" + "a" * 107, "unix://[/"],
)  # fmt: skip
def test_what_is_no_socket_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="unix: and an absolute path"):
        read_address(address)


@given(address=st.text(max_size=200))
def test_any_text_is_refused_or_leads_to_a_path(address: str) -> None:
    try:
        target = read_address(address)
    except ValueError:
        return
    assert target.startswith("unix:/")


def test_who_has_no_identity_is_told_the_command() -> None:
    said = how_to_register("spiffe://picket.test/ns/shop/sa/cart", "-dns picket-controlplane")
    assert said.endswith(
        "-spiffeID spiffe://picket.test/ns/shop/sa/cart -parentID AGENT -selector SELECTOR -dns picket-controlplane"
    )
