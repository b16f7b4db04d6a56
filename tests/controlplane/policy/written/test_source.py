"""YAML text becomes nodes with places, or one finding that says where and why not."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.findings import Finding, Place
from controlplane.policy.written.source import MAX_BYTES, MAX_DEPTH, Source, kind_of, read_source
from controlplane.policy.written.tree import Kind, Mapping, Scalar, Sequence, plain
from tests.controlplane.policy.written.scribbles import files


def _read(text: str) -> Source:
    source = read_source(text.encode(), "f.yaml")
    assert isinstance(source, Source)
    return source


def test_values_know_where_they_are() -> None:
    (root,) = _read("a: 1\nb:\n- x\n- {c: y}\n").documents
    assert isinstance(root, Mapping)
    items = root.get("b")
    assert isinstance(items, Sequence)
    assert [item.place for item in items.items] == [Place("f.yaml", 3, 3), Place("f.yaml", 4, 3)]
    assert (root.get("a"), root.get("z")) == (Scalar("1", Kind.INTEGER, Place("f.yaml", 1, 4)), None)


def test_documents_without_a_value_are_none() -> None:
    assert _read("---\n---\n# only a comment\n---\na: 1\n").documents[0] == _read("\n\n\n\na: 1\n").documents[0]
    assert _read("").documents == ()


def test_line_ends_and_the_mark_of_utf8_do_not_count() -> None:
    assert plain(_read("\ufeffa: 1\r\nb: 2\rc: 3\n").documents[0]) == plain(_read("a: 1\nb: 2\nc: 3\n").documents[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1\nb: *x\n", "f.yaml:1:4: error: anchors and aliases are not read; write the value out [invalid]"),
        ("b: *x\n", "f.yaml:1:4: error: anchors and aliases are not read; write the value out [invalid]"),
        ("a: !!str x\n", "f.yaml:1:4: error: tags are not read; remove it, and quote what is to be a text [invalid]"),
        ("%YAML 1.1\n---\na: 1\n", "f.yaml:1:1: error: directives are not read; remove the line [invalid]"),
        ("a: 1\na: 2\n", "f.yaml:2:1: error: the key 'a' is there twice; keep one of them [invalid]"),
        ("[a]: 2\n", "f.yaml:1:1: error: a key that is not a plain text; write keys as texts [invalid]"),
        (f"{'k' * 81}: 2\n", "f.yaml:1:1: error: a key longer than 80 characters; choose a shorter one [invalid]"),
        ("a:\n  - b\n c\n", "f.yaml:3:2: error: not YAML: did not find expected key [invalid]"),
        ("a: 'x\u2028y'\n", "f.yaml:1:6: error: a hidden line end '\\u2028'; write it as an escape in quotes [invalid]"),
        ("a: \x07\n", "f.yaml:1:4: error: not YAML: control characters are not allowed [invalid]"),
        ("a: [\n", "f.yaml:2:1: error: not YAML: did not find expected node content [invalid]"),
    ],
)
def test_what_is_not_read_is_told_with_its_place(text: str, said: str) -> None:
    assert str(read_source(text.encode(), "f.yaml")) == said


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    found = read_source(b"a: 1\nb: \xff\n", "f.yaml")
    assert isinstance(found, Finding)
    assert (found.place, found.remedy) == (Place("f.yaml", 2), "save it as UTF-8")


def test_size_depth_and_number_of_values_are_bounded() -> None:
    deep = b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2)
    for body in (b" " * (MAX_BYTES + 1), deep, b"[" * 100_000, b"[" + b"1," * 600_000 + b"]"):
        assert isinstance(read_source(body, "f.yaml"), Finding)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_a_scalar_that_is_a_text_here_is_one_to_other_readers(text: str) -> None:
    """Kubernetes reads YAML 1.1, as PyYAML does: what is written without quotes must be a text there, too."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
    if isinstance(node, yaml.ScalarNode) and node.value == text and kind_of(text) is Kind.TEXT:
        assert node.tag == "tag:yaml.org,2002:str"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_source_or_a_finding(body: bytes) -> None:
    assert isinstance(read_source(body, "f"), (Source, Finding))


@given(files())
def test_values_are_those_of_a_known_reader(text: str) -> None:
    wanted = [document for document in yaml.load_all(text, Loader=yaml.BaseLoader) if document not in (None, "")]
    assert [_texts(plain(root)) for root in _read(text).documents if plain(root) != ""] == wanted


def _texts(value: object) -> object:
    if isinstance(value, tuple):
        return value[1]
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return {key: _texts(item) for key, item in value.items()} if isinstance(value, dict) else value
