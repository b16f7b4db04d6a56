"""The canonical form: the same values, the same comments, and stable."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.findings import Place
from controlplane.policy.written.comments import Annotated, Part, annotate, comments_of
from controlplane.policy.written.source import Source, read_source
from controlplane.policy.written.tree import Kind, Scalar, plain
from controlplane.policy.written.writer import WIDTH, write
from tests.controlplane.policy.written.scribbles import files

LOOSE = """\
# licence
---
# about cart
kind:   TrafficPolicy   # kind


metadata: {name: cart}  # names
spec:
    rules:   # the rules
        # first
        - from: [{workload: shop/a}, # one
                 {workload: shop/b}]
          ports:   [80, 443] # web
          http:
           -   method: GET # get
               path: "/users/{id}"
           # more to come

        # second
        -   # dash
            ports:
            - 81
            # odd
            - 82
        # end of rules
---
text: |  # header
  x

  # y

empty: {}
none: [ # none yet
  ]
list: [1,2, # two
 3]

# foot
"""
CANONICAL = """\
# licence
# about cart
kind: TrafficPolicy  # kind

metadata:  # names
  name: cart
spec:
  rules:  # the rules
  # first
  - from:
    # one
    - workload: shop/a
    - workload: shop/b
    ports: [80, 443]  # web
    http:
    - method: GET  # get
      path: /users/{id}
    # more to come

  # second
  # dash
  - ports:
    - 81
    # odd
    - 82
  # end of rules
---
text: |  # header
  x

  # y

empty: {}
# none yet
none: []
list:
- 1
- 2  # two
- 3

# foot
"""


def _read(text: str) -> Source:
    source = read_source(text.encode(), "f.yaml")
    assert isinstance(source, Source), source
    return source


def _written(text: str) -> str:
    return write(annotate(_read(text)))


def test_loose_text_becomes_canonical() -> None:
    assert _written(LOOSE) == CANONICAL


@pytest.mark.parametrize("text", ["", "# only\n", "# a\n\n# b\n", "{}\n", "[]\n", "x\n", CANONICAL])
def test_canonical_text_stays(text: str) -> None:
    assert _written(text) == text


@given(files())
def test_values_and_comments_are_kept_and_a_second_pass_changes_nothing(text: str) -> None:
    before = _read(text)
    made = write(annotate(before))
    after = _read(made)
    assert [plain(root) for root in after.documents] == [plain(root) for root in before.documents]
    assert Counter(c.text for c in comments_of(after)) == Counter(c.text for c in comments_of(before))
    assert write(annotate(after)) == made
    assert not any(above == below == "" for above, below in pairwise(made.split("\n")) if "|" not in made and '"' not in made)


@given(st.text(max_size=300))
def test_any_text_is_written_so_that_it_reads_as_itself(text: str) -> None:
    nowhere = Place("")
    part = Part(None, [Part(Scalar("key", Kind.TEXT, nowhere), Scalar(text, Kind.TEXT, nowhere))])
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # half a character, which no file can hold
    (root,) = _read(write(Annotated([part], []))).documents
    assert plain(root) == {"key": text}


def test_a_long_text_is_folded() -> None:
    text = " ".join(["word"] * 60)
    made = _written(f"reason: {text}\n")
    assert made.startswith("reason: >-\n  word word")
    assert max(map(len, made.split("\n"))) <= WIDTH + 2
    assert plain(_read(made).documents[0]) == {"reason": text}
