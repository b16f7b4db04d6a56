"""Shapes check documents key by key, and say the same as JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.policy.written.shape import Fields, Flag, Given, Integer, Key, ListOf, Text, Texts, json_schema, read_value
from controlplane.policy.written.source import Source, read_source


def _even(given: Given) -> tuple[str, int]:
    if given.get("size", 0) % 2:
        raise ValueError("an even size is wanted")
    return given.get("name"), given.get("size", 0)


def _upper(text: str) -> str:
    if text == "boom":
        raise ValueError("'boom' is taken")
    return text.upper()


THING = Fields(
    keys={
        "name": Key(shape=Text(what="a name", pattern="[a-z]+", at_most=8, read=_upper), required=True, about="Its name."),
        "size": Key(shape=Integer(what="a size", at_least=0, at_most=10)),
        "day": Key(shape=Text(what="a day", is_time=True)),
        "colour": Key(shape=Text(what="a colour", choices=("red", "green"))),
        "tags": Key(shape=Texts(at_most=2)),
        "parts": Key(shape=ListOf(item=Integer(what="a part", at_least=1, at_most=3), at_most=2)),
        "left": Key(shape=Text(what="a side")),
        "right": Key(shape=Text(what="a side")),
        "big": Key(shape=Flag()),
    },
    build=_even,
)
SIDED = Fields(keys={"left": Key(shape=Text(what="a side")), "right": Key(shape=Text(what="a side"))}, one_of=("left", "right"))


def _check(shape: Fields, text: str) -> tuple[Any, list[str]]:
    source = read_source(text.encode(), "f.yaml")
    assert isinstance(source, Source)
    value, findings = read_value(shape, source.documents[0])
    return value, [str(found).removeprefix("f.yaml:").removesuffix(" [invalid]") for found in findings]


def test_values_are_built_from_what_is_written() -> None:
    assert _check(THING, "{name: ab, big: true}") == (("AB", 0), [])
    assert _check(THING, "{name: ab, size: 4, day: 2026-01-02, tags: {a: x, b: ''}, parts: [1, 3]}") == (("AB", 4), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "1:1: error: name: is missing; add it: Its name."),
        ("[]", "1:1: error: a list where a mapping is wanted; its keys are name, size, day, colour, tags, parts, left, right, big"),
        ("{name: a, big: yes}", "1:16: error: big: true or false (yes) where true or false is wanted"),
        ("{name: a, big: 'true'}", "1:16: error: big: a text where true or false is wanted"),
        ("{name: 12}", "1:8: error: name: a number (12) where a name is wanted; quote it: '12'"),
        ("{name: no}", "1:8: error: name: true or false (no) where a name is wanted; quote it: 'no'"),
        ("{name: }", "1:8: error: name: nothing where a name is wanted"),
        ("{name: [a]}", "1:8: error: name: a list where a name is wanted"),
        ("{name: ''}", "1:8: error: name: '' is not a name"),
        ("{name: abcdefghi}", "1:8: error: name: longer than 8 characters"),
        ("{name: A}", "1:8: error: name: 'A' is not a name"),
        ("{name: boom}", "1:8: error: name: 'boom' is taken; write a name"),
        ("{name: a, size: '4'}", "1:17: error: size: a text where a size is wanted; remove the quotes"),
        ("{name: a, size: 0x4}", "1:17: error: size: a number (0x4) where a size is wanted"),
        ("{name: a, size: 12}", "1:17: error: size: 12 is not a size: 0 to 10"),
        ("{name: a, size: 3}", "1:1: error: an even size is wanted"),
        ("{name: a, colour: gren}", "1:19: error: colour: 'gren' is not one of red, green; did you mean green?"),
        ("{name: a, tags: {a: 1}}", "1:21: error: tags.a: a number (1) where a text is wanted; quote it: '1'"),
        ("{name: a, tags: {a: x, b: x, c: x}}", "1:17: error: tags: 3 keys; at most 2 are read"),
        ("{name: a, parts: 1}", "1:18: error: parts: a number (1) where a list is wanted; begin each item with a dash"),
        ("{name: a, parts: []}", "1:18: error: parts: 0 items where at least 1 is wanted; leave the key out"),
        ("{name: a, parts: [1, 2, 3]}", "1:18: error: parts: 3 items; at most 2 are read; split it"),
        ("{name: a, parts: [1, 9]}", "1:22: error: parts[1]: 9 is not a part: 1 to 3"),
        ("{name: a, colr: red}", "1:11: error: colr: is not a known key; did you mean colour?"),
    ],
)
def test_each_mistake_is_told_with_its_place_key_and_remedy(text: str, said: str) -> None:
    assert _check(THING, text) == (None, [said])


def test_all_mistakes_are_told_at_once() -> None:
    assert len(_check(THING, "{nam: a, size: x, parts: [7]}")[1]) == 4


@pytest.mark.parametrize("text", ["{}", "{left: a, right: b}"])
def test_exactly_one_of_several_keys_is_held_to(text: str) -> None:
    assert "exactly one of left, right is wanted" in _check(SIDED, text)[1][0]
    assert _check(SIDED, "{left: a}")[1] == []


def test_the_schema_says_what_the_check_does() -> None:
    made = json_schema(THING)
    assert (made["required"], made["additionalProperties"]) == (["name"], False)
    assert made["properties"]["name"] == {
        "description": "Its name.", "type": "string", "minLength": 1, "maxLength": 8, "pattern": "^(?:[a-z]+)$",
    }  # fmt: skip
    assert made["properties"]["colour"] == {"type": "string", "enum": ["red", "green"]}
    assert made["properties"]["parts"] == {
        "type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 1, "maximum": 3},
    }  # fmt: skip
    assert made["properties"]["big"] == {"type": "boolean"}
    assert json_schema(SIDED)["oneOf"] == [{"required": ["left"]}, {"required": ["right"]}]
    assert "additionalProperties" not in json_schema(THING, closed=False)
