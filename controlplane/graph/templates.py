"""Path templates of one method at one port, each with its evidence. Never observes anything, and never approves.

The rule of generalisation, all of it:

1. A segment that looks like an identifier (`graph.segments`) is a parameter.
2. Words stay words, unless very many of them have the same below them: ``siblings`` words that are followed by the same
   path with a word of its own (``/{name}/orders``), or ``alone`` words that are followed by nothing or by parameters only.
   Such a word is a value, so everything below it moves under ``{name}``.
3. Where more was seen than the tree tells apart, it is ``{name}`` (crowded), or ``*`` behind the deepest segment told apart.

Everything else is exact. A template says which of these made it wider than what was seen.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.graph.distinct import Distinct
from controlplane.graph.pathshape import Shape, shape_of
from controlplane.graph.pathtree import CROWD, Node, PathTree
from controlplane.policy.rules import HttpMatch


class Why(enum.StrEnum):
    """What made a parameter of a segment; the last is the weakest ground."""

    LOOKS = "looks"  # it looks like an identifier
    SIBLINGS = "siblings"  # many words with the same below them
    CROWDED = "crowded"  # more than can be told apart


_STRENGTH = list(Why)


@dataclass(frozen=True, slots=True)
class Generalisation:
    """When words become a parameter: the fewest that do."""

    siblings: int = 20
    alone: int = 50


@dataclass(frozen=True, slots=True)
class Parameter:
    """One segment that stands for several, with what was seen there.

    ``values`` counts the different segments at this place of the tree, whatever followed; above 15 it is an estimate.
    """

    segment: str
    values: int
    is_counted: bool
    examples: tuple[str, ...]
    why: Why

    @property
    def reason(self) -> str:
        """The evidence in words."""
        about = "" if self.is_counted else "about "
        seen = f"{about}{self.values:,} different seen there, whatever follows, as {', '.join(self.examples)}"
        if self.why is Why.LOOKS:
            return f"{self.segment}: looks like an identifier; {seen}"
        if self.why is Why.SIBLINGS:
            return f"{self.segment}: many words are followed by the same; {seen}"
        return f"{self.segment}: more different segments than are told apart; {seen}"


@dataclass(frozen=True, slots=True)
class Template:
    """A path as a rule may say it. ``is_prefix``: paths went deeper than is told apart, so anything may follow."""

    path: str
    parameters: tuple[Parameter, ...] = ()
    is_prefix: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether it stands for one path, which was seen."""
        return not self.parameters and not self.is_prefix

    @property
    def is_crowded(self) -> bool:
        """Whether it is wide only because there was too much to tell apart: a person should look."""
        return self.is_prefix or any(parameter.why is Why.CROWDED for parameter in self.parameters)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is wider than what was seen, in words; empty when it is exact."""
        deep = ("*: longer or deeper paths than are told apart",) if self.is_prefix else ()
        return tuple(parameter.reason for parameter in self.parameters) + deep

    def match(self, method: str) -> HttpMatch:
        """The template of a method, as a rule says it."""
        return HttpMatch(method, self.path)


@dataclass(frozen=True, slots=True)
class Mined:
    """All templates of a tree, ordered by path."""

    templates: tuple[Template, ...]
    _tree: PathTree = field(repr=False)
    _by_shape: Mapping[str, Template] = field(repr=False)

    def of_shape(self, shaped: Shape) -> Template | None:
        """The template for paths of a shape; ``None`` when the tree never saw one."""
        held = self._tree.locate(shaped)
        return None if held is None else self._by_shape[held.text]

    def of(self, path: str) -> Template | None:
        """The template for a path without its query; ``None`` when none like it was seen."""
        found = shape_of(path)
        return None if found is None else self.of_shape(found[0])


def mine(tree: PathTree, rule: Generalisation | None = None) -> Mined:
    """The templates of a tree, which may not change while the result is in use."""
    found = _render(tree.root, rule or Generalisation())
    templates: list[Template] = []
    by_shape: dict[str, Template] = {}
    for path, leaf in sorted(found.items()):
        template = Template(path, tuple(part.parameter() for part in leaf.parts), path.endswith("/*"))
        templates.append(template)
        by_shape.update(dict.fromkeys(leaf.shapes, template))
    return Mined(tuple(templates), tree, by_shape)


@dataclass(frozen=True, slots=True)
class _Part:
    segment: str
    seen: Distinct
    why: Why

    def parameter(self) -> Parameter:
        return Parameter(self.segment, self.seen.count, self.seen.is_exact, self.seen.examples, self.why)

    def joined(self, other: _Part) -> _Part:
        seen = Distinct()
        seen.merge(self.seen)
        seen.merge(other.seen)
        return _Part(self.segment, seen, max(self.why, other.why, key=_STRENGTH.index))


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What is below a node under one path: its parameters from here down, and the tree's own shapes behind it."""

    parts: tuple[_Part, ...]
    shapes: tuple[str, ...]

    def joined(self, other: _Leaf) -> _Leaf:
        parts = tuple(own.joined(others) for own, others in zip(self.parts, other.parts, strict=True))
        return _Leaf(parts, self.shapes + other.shapes)


def _render(node: Node, rule: Generalisation) -> dict[str, _Leaf]:
    """Everything below a node, by its path from here."""
    below = {token: _render(child, rule) for token, child in sorted(node.children.items())}
    values = set(_values(node, below, rule))
    ends = {"": node.ends, "/": node.slash, "/*": node.tail}
    found = {path: _Leaf((), (path,)) for path, held in ends.items() if held}
    for token, rendered in below.items():
        part = _part(token, node.children[token], is_value=token in values)
        for rest, leaf in rendered.items():
            path = f"/{part.segment if part else token}{rest}"
            grown = _Leaf(((part, *leaf.parts) if part else leaf.parts), tuple(f"/{token}{held}" for held in leaf.shapes))
            found[path] = found[path].joined(grown) if path in found else grown
    return found


def _part(token: str, child: Node, *, is_value: bool) -> _Part | None:
    if child.seen is not None:
        return _Part(token, child.seen, Why.CROWDED if token == CROWD else Why.LOOKS)
    return _Part(CROWD, Distinct([token]), Why.SIBLINGS) if is_value else None


def _values(node: Node, below: Mapping[str, Mapping[str, _Leaf]], rule: Generalisation) -> Iterator[str]:
    """The words that are values rather than names of things."""
    by_rest: dict[str, list[str]] = {}
    for token, rendered in below.items():
        if node.children[token].seen is None:
            for rest in rendered:
                by_rest.setdefault(rest, []).append(token)
    for rest, words in by_rest.items():
        named = any(segment and "{" not in segment and segment != "*" for segment in rest.split("/"))
        if len(words) >= (rule.siblings if named else rule.alone):
            yield from words
