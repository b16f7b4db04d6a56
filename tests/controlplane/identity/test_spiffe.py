"""SPIFFE names: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import SpiffeError, WorkloadId, check_trust_domain, parse_uri, parse_workload

SEGMENTS = st.from_regex(r"[A-Za-z0-9._-]{1,63}", fullmatch=True).filter(lambda text: text not in {".", ".."})
WORKLOADS = st.builds(WorkloadId, SEGMENTS, SEGMENTS)


def parse_here(uri: str) -> WorkloadId:
    return parse_uri(uri, "picket.local")


@given(WORKLOADS)
def test_what_is_written_is_read_back(workload: WorkloadId) -> None:
    assert parse_uri(workload.uri("picket.local"), "picket.local") == workload
    assert parse_workload(str(workload)) == workload


@given(st.text(max_size=200))
def test_any_text_is_a_workload_or_a_spiffe_error(text: str) -> None:
    for read in (parse_workload, parse_here, lambda rest: parse_here(f"spiffe://picket.local/ns/{rest}")):
        try:
            workload = read(text)
        except SpiffeError:
            continue
        assert text.endswith(workload.account)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://other.domain/ns/shop/sa/cart",
        "spiffe://picket.local.evil/ns/shop/sa/cart",
        "spiffe://picket.localx/ns/shop/sa/cart",
        "SPIFFE://picket.local/ns/shop/sa/cart",
        "https://picket.local/ns/shop/sa/cart",
        "spiffe://picket.local/ns/shop/sa/cart/",
        "spiffe://picket.local/ns/shop/sa/cart/more",
        "spiffe://picket.local/ns/shop/sa/",
        "spiffe://picket.local/ns//sa/cart",
        "spiffe://picket.local/ns/shop/cart",
        "spiffe://picket.local/xx/shop/sa/cart",
        "spiffe://picket.local/ns/../sa/cart",
        "spiffe://picket.local/ns/shop/sa/cart?x",
        "spiffe://picket.local/ns/shop/sa/cart#x",
        "spiffe://picket.local/ns/shop/sa/ca%72t",
        "spiffe://picket.local/ns/shop/sa/cart\n",
        "spiffe://picket.local/picket/controlplane",
        "",
    ],
)
def test_a_name_of_another_shape_or_domain_is_refused(uri: str) -> None:
    with pytest.raises(SpiffeError):
        parse_uri(uri, "picket.local")


@pytest.mark.parametrize("segment", ["", ".", "..", "a/b", "a b", "a\n", "ä", "x" * 64, "a%41"])
def test_a_segment_that_spiffe_forbids_makes_no_workload(segment: str) -> None:
    with pytest.raises(SpiffeError):
        WorkloadId(segment, "cart")
    with pytest.raises(SpiffeError):
        WorkloadId("shop", segment)


@pytest.mark.parametrize("name", ["picket.local", "a", "a_b-c.1"])
def test_a_trust_domain_that_spiffe_allows_is_returned(name: str) -> None:
    assert check_trust_domain(name) == name


@pytest.mark.parametrize("name", ["", "Picket", "picket local", "picket/local", "picket.local\n", "x" * 256])
def test_a_trust_domain_that_spiffe_forbids_is_refused(name: str) -> None:
    with pytest.raises(SpiffeError):
        check_trust_domain(name)
