"""The shape of one path: a word or a pattern for each of its segments. Pure, and blind to other paths."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import NamedTuple

from controlplane.graph.segments import shape
from controlplane.policy.rules import AMBIGUOUS_PATH, HttpMatch

#: Segments that are told apart, and characters of their shapes; what follows is a tail of any length. A rule takes 1024.
MAX_DEPTH = 24
MAX_CHARACTERS = 880
_LONGEST_PARAMETER = len("{version}")
_AMBIGUOUS = re.compile(AMBIGUOUS_PATH)


class Shape(NamedTuple):
    """A path as tokens: a word or a pattern for each segment. ``slash``: it ends in one; ``tail``: more was cut off."""

    tokens: tuple[str, ...]
    slash: bool = False
    tail: bool = False

    @property
    def text(self) -> str:
        """As `HttpMatch` writes it."""
        return "".join(f"/{token}" for token in self.tokens) + ("/*" if self.tail else "/" if self.slash else "")


def shape_of(path: str) -> tuple[Shape, list[str]] | None:
    """A path's shape and the segment behind each token; ``None`` when no pattern may stand for the path.

    ``path`` is without its query. A rule has to be able to say it, and an application may not read it as another one: so no
    ``*`` and no braces, no empty segments, no dot segments, no escaped separators.
    """
    if not path or "{" in path or "//" in path or _AMBIGUOUS.fullmatch(path):
        return None
    try:
        match = HttpMatch("", path)
    except ValueError:
        return None
    if match.is_prefix or match.is_template:
        return None
    segments = path[1:].split("/")
    slash = segments[-1] == ""
    if slash:
        segments.pop()
    tokens = [shape(segment) for segment in segments[:MAX_DEPTH]]
    kept = len(tokens)
    if len(path) > MAX_CHARACTERS:
        sizes = accumulate(max(len(token), _LONGEST_PARAMETER) + 1 for token in tokens)
        kept = sum(size <= MAX_CHARACTERS for size in sizes)
    tail = kept < len(segments)
    return Shape(tuple(tokens[:kept]), slash and not tail, tail), segments[:kept]


def shape_from(text: str) -> Shape:
    """Read what `Shape.text` wrote."""
    tail = text.endswith("/*")
    body = text[:-2] if tail else text
    slash = body.endswith("/")
    return Shape(tuple(body.strip("/").split("/")) if body.strip("/") else (), slash, tail)
