"""What is told twice counts once, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.sightings import Once, Pairs


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30))
def test_of_each_call_as_many_count_as_its_busier_side_tells(told: list[tuple[str, bool]]) -> None:
    pairs = Pairs()
    counted = [call for call, inbound in told if not pairs.is_second(call, inbound=inbound)]
    for call in "ab":
        sides = [inbound for name, inbound in told if name == call]
        assert counted.count(call) == max(sides.count(True), sides.count(False))


def test_what_is_remembered_is_bounded_and_the_oldest_goes() -> None:
    pairs, once = Pairs(2), Once(2)
    for call in "abc":
        assert not pairs.is_second(call, inbound=True)
        assert not once.is_again(call)
    assert pairs.is_second("b", inbound=False)
    assert not pairs.is_second("a", inbound=False)
    assert once.is_again("b")
    assert not once.is_again("a")
    assert not once.is_again("c")
