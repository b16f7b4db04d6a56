"""The paths seen at one place, as a tree of bounded size. Never decides what a rule may say; `graph.templates` reads it.

Segments that look like identifiers become parameters at once (`graph.segments`); words stay. While the different shapes can be
counted, that is all. Beyond that, each node has a budget of leaves that it shares out among its children: where there are more
than the budget allows, all of them become the one child ``{name}``, and the node is crowded. Both rules only ever go one way,
and a budget only ever shrinks, so the tree is a function of the set of paths: order, repetition and merging change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controlplane.graph.distinct import Distinct, text_hash
from controlplane.graph.pathshape import Shape, shape_of

CROWD = "{name}"


@dataclass(frozen=True, slots=True)
class Budget:
    """``shapes`` are told apart without more ado; beyond that a tree has at most ``2 ** bits`` leaves."""

    shapes: int = 4096
    bits: int = 14

    def __post_init__(self) -> None:
        if self.shapes < 1 or self.bits < 0:
            raise ValueError(f"{self}: at least one shape, and no fraction of a leaf")


class Node:
    """One place in the tree. ``seen`` are the segments behind a parameter, ``None`` for a word."""

    __slots__ = ("children", "ends", "seen", "slash", "tail")

    def __init__(self, seen: Distinct | None = None) -> None:
        self.children: dict[str, Node] = {}
        self.seen = seen
        self.ends = False
        self.slash = False
        self.tail = False

    @property
    def is_crowded(self) -> bool:
        """Whether its children became one."""
        return CROWD in self.children

    def see(self, values: str | Distinct) -> None:
        """See segments behind this parameter."""
        assert self.seen is not None
        if isinstance(values, Distinct):
            self.seen.merge(values)
        else:
            self.seen.add(values)

    def absorb(self, other: Node) -> None:
        """Everything another node saw; ``other`` may not be used afterwards."""
        if other.seen is not None:
            self.see(other.seen)
        self.ends |= other.ends
        self.slash |= other.slash
        self.tail |= other.tail
        for token, child in other.children.items():
            own = self.children.get(token)
            if own is None:
                self.children[token] = child
            else:
                own.absorb(child)

    def copy(self) -> Node:
        """A node of its own, with all below it."""
        twin = Node(None if self.seen is None else Distinct())
        if self.seen is not None:
            twin.see(self.seen)
        twin.ends, twin.slash, twin.tail = self.ends, self.slash, self.tail
        twin.children = {token: child.copy() for token, child in self.children.items()}
        return twin

    def crowd(self) -> None:
        """Make all children one."""
        joined = Node(Distinct())
        for token, child in self.children.items():
            if child.seen is None:
                joined.see(token)
            joined.absorb(child)
        self.children = {CROWD: joined}


def limit_of(bits: int) -> int:
    """The most children of a node whose budget is ``2 ** bits`` leaves."""
    return 1 << (2 * bits // 3)


def bits_below(bits: int, children: int) -> int:
    """The budget of each child, as a power of two; less for more children, and least below a crowd."""
    return max(0, ((1 << bits) // children).bit_length() - 1)


class PathTree:
    """The paths of one method at one port. Not safe to change from several threads."""

    __slots__ = ("_budget", "_shapes", "root")

    def __init__(self, budget: Budget | None = None) -> None:
        self.root = Node()
        self._budget = budget or Budget()
        self._shapes: set[int] | None = set()  # hashes; None once there are too many

    def observe(self, path: str) -> bool:
        """See a path without its query; ``False`` when no pattern may stand for it, and the tree is as before."""
        found = shape_of(path)
        if found is None:
            return False
        self.add(*found)
        return True

    def add(self, shaped: Shape, seen: Sequence[str | Distinct]) -> None:
        """See a path, or all those of one shape. ``seen``: the segment or segments behind each token."""
        node = self.root
        grown: Node | None = None
        passed: list[Node] = []
        for token, values in zip(shaped.tokens, seen, strict=True):
            children = node.children
            held = CROWD if CROWD in children else token
            child = children.get(held)
            if child is None:
                child = children[held] = Node(Distinct() if "{" in held else None)
                grown = grown or node
            if child.seen is not None:
                child.see(values if "{" in token else token)
            passed.append(node)
            node = child
        node.ends |= not (shaped.slash or shaped.tail)
        node.slash |= shaped.slash
        node.tail |= shaped.tail
        if self._count(text_hash(shaped.text)):
            self._settle(self.root, self._budget.bits)
        elif grown is not None and self._shapes is None:
            self._settle_after(grown, passed)

    def _count(self, *shapes: int) -> bool:
        """Count shapes; whether there are too many from now on."""
        if self._shapes is None:
            return False
        self._shapes.update(shapes)
        if len(self._shapes) <= self._budget.shapes:
            return False
        self._shapes = None
        return True

    def _settle_after(self, grown: Node, passed: list[Node]) -> None:
        """Settle where the first of some new nodes came in; everything above it is as it was."""
        bits = self._budget.bits
        for node in passed:
            if node is grown:
                break
            bits = bits_below(bits, limit_of(bits) + 1 if node.is_crowded else len(node.children))
        count = len(grown.children)
        if count > limit_of(bits) or bits_below(bits, count) != bits_below(bits, max(1, count - 1)):
            self._settle(grown, bits)

    def merge(self, other: PathTree) -> None:
        """See all that another tree of the same budget saw."""
        if other._budget != self._budget:
            raise ValueError("trees of different budgets do not merge")
        self.root.absorb(other.root.copy())
        if other._shapes is None:
            self._shapes = None
        else:
            self._count(*other._shapes)
        if self._shapes is None:
            self._settle(self.root, self._budget.bits)

    def _settle(self, node: Node, bits: int) -> None:
        """Hold a node and all below it to the budget."""
        limit = limit_of(bits)
        if node.is_crowded or len(node.children) > limit:
            if len(node.children) > 1:
                node.crowd()
            self._settle(node.children[CROWD], bits_below(bits, limit + 1))
            return
        if node.children:
            below = bits_below(bits, len(node.children))
            for child in node.children.values():
                self._settle(child, below)

    def locate(self, shaped: Shape) -> Shape | None:
        """Where the tree keeps a path of this shape; ``None`` when it never saw one."""
        node = self.root
        tokens: list[str] = []
        for token in shaped.tokens:
            held = CROWD if node.is_crowded else token
            found = node.children.get(held)
            if found is None:
                return None
            node = found
            tokens.append(held)
        holds = node.tail if shaped.tail else node.slash if shaped.slash else node.ends
        return shaped._replace(tokens=tuple(tokens)) if holds else None

    def shapes(self) -> Iterator[Shape]:
        """Every path that it keeps, in a stable order."""
        yield from _shapes(self.root, ())

    @property
    def is_crowded(self) -> bool:
        """Whether there were too many different shapes to tell all of them apart."""
        return self._shapes is None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PathTree)
            and (self._budget, self._shapes) == (other._budget, other._shapes)
            and _same(self.root, other.root)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


def tree_of(paths: Iterable[str], budget: Budget | None = None) -> PathTree:
    """A tree that saw these paths."""
    tree = PathTree(budget)
    for path in paths:
        tree.observe(path)
    return tree


def _shapes(node: Node, tokens: tuple[str, ...]) -> Iterator[Shape]:
    if node.ends:
        yield Shape(tokens)
    if node.slash:
        yield Shape(tokens, slash=True)
    if node.tail:
        yield Shape(tokens, tail=True)
    for token, child in sorted(node.children.items()):
        yield from _shapes(child, (*tokens, token))


def _same(left: Node, right: Node) -> bool:
    return (
        (left.seen, left.ends, left.slash, left.tail) == (right.seen, right.ends, right.slash, right.tail)
        and left.children.keys() == right.children.keys()
        and all(_same(child, right.children[token]) for token, child in left.children.items())
    )
