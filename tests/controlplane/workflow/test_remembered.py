"""One answer is kept as long as what it was made of is the same."""

from __future__ import annotations

from controlplane.workflow.remembered import Remembered


def test_an_answer_is_made_again_when_anything_that_it_was_made_of_is_another() -> None:
    made: list[tuple[object, ...]] = []
    remembered = Remembered[int]()

    def make(of: tuple[object, ...]) -> int:
        made.append(of)
        return len(made)

    def answer(*of: object) -> int:
        return remembered.answer(of, lambda: make(of))

    assert [answer("a", [1]), answer("a", [1]), answer("a", [2]), answer("b", [2]), answer("a", [1])] == [1, 1, 2, 3, 4]
    assert made == [("a", [1]), ("a", [2]), ("b", [2]), ("a", [1])]


def test_none_is_an_answer_too() -> None:
    remembered, calls = Remembered[None](), []
    for _ in range(2):
        remembered.answer((), lambda: calls.append(1))
    assert calls == [1]
