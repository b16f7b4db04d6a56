"""Comments are found where they are, and stay with what they speak of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.written.comments import Part, annotate, comments_of
from controlplane.policy.written.source import Source, read_source
from controlplane.policy.written.tree import Scalar
from tests.controlplane.policy.written.scribbles import files


def _read(text: str) -> Source:
    source = read_source(text.encode(), "f.yaml")
    assert isinstance(source, Source)
    return source


def _entries(part: Part) -> list[Part]:
    assert isinstance(part.value, list)
    return part.value


def test_a_number_sign_within_a_value_is_no_comment() -> None:
    text = "a: 'x # y'\nb: x#y # one\nc: |  # two\n  # text\n\n# three\nd: [1, # four\n  2]\n\"#e\": >-\n  # text\n"
    found = comments_of(_read(text))
    assert [(comment.text, comment.line, comment.column, comment.alone) for comment in found] == [
        ("# one", 2, 8, False),
        ("# two", 3, 7, False),
        ("# three", 6, 1, True),
        ("# four", 7, 8, False),
    ]


def test_a_comment_belongs_to_what_follows_it_or_stands_before_it_on_its_line() -> None:
    text = """\
# head
a: 1  # beside a

# about b

b:  # beside b
  # about c
  c: 2
  # end of b
# about d
d: 3
# end
"""
    (document,) = annotate(_read(text)).documents
    a, b, d = _entries(document)
    (c,) = _entries(b)
    assert (document.above, a.above, a.beside) == (["# head"], [], "# beside a")
    assert (b.above, b.beside, b.below) == (["", "# about b", ""], "# beside b", ["# end of b"])
    assert (c.above, d.above, document.below) == (["# about c"], ["# about d"], ["# end"])


def test_comments_between_documents_go_to_the_side_of_the_mark_on_which_they_stand() -> None:
    made = annotate(_read("a: 1\n# after a\n---\n# before b\nb: 2\n---\n# last\n"))
    first, second = made.documents
    assert (first.below, second.above, second.below, made.foot) == (["# after a"], ["# before b"], [], ["# last"])


def test_a_file_of_comments_is_all_foot() -> None:
    assert annotate(_read("# one\n\n# two\n")).foot == ["# one", "", "# two"]


@given(files())
def test_each_comment_is_kept_exactly_once(text: str) -> None:
    source = _read(text)
    made = annotate(source)
    kept = [line for part in made.documents for line in _lines(part)] + [line for line in made.foot if line]
    assert sorted(kept) == sorted(comment.text for comment in comments_of(source))


@given(st.lists(st.sampled_from(["a: 1", "# x", "- b", "  c: '# y'", "|", "", "{", "}", "? z", ": # w", "---", "..."]), max_size=8))
def test_comments_of_any_lines_are_lines_of_theirs(lines: list[str]) -> None:
    source = read_source("\n".join(lines).encode(), "f.yaml")
    if isinstance(source, Source):
        annotate(source)
        for comment in comments_of(source):
            assert source.text.split("\n")[comment.line - 1][comment.column - 1 :].rstrip() == comment.text


def _lines(part: Part) -> list[str]:
    own = [line for line in (*part.above, part.beside, *part.below) if line]
    return own if isinstance(part.value, Scalar) else own + [line for child in part.value for line in _lines(child)]
