"""The paths of every method at one port of one service, bounded. Never keeps sources, counts or times; `graph.evidence` does.

Callers can make methods up, so only some are told apart: the usual ones, then those that come first in the alphabet. That is the
same set in whatever order they came. gRPC paths name a method and are not mined.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.graph.distinct import Distinct
from controlplane.graph.pathshape import Shape
from controlplane.graph.pathtree import Budget, PathTree
from controlplane.graph.templates import Generalisation, Mined, mine

MAX_METHODS = 16
_USUAL = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
#: Paths that are known to have been seen already, so that they cost one look-up; forgotten together.
_MAX_REMEMBERED = 4096


class PortPaths:
    """What was asked for at one port. Not safe to change from several threads."""

    def __init__(self, budget: Budget | None = None) -> None:
        """``budget`` is each method's."""
        self._budget = budget
        self._trees: dict[str, PathTree] = {}
        self._aside: dict[str, Distinct] = {}
        self._remembered: set[tuple[str, str]] = set()
        self.has_more_methods = False

    def observe(self, method: str, path: str) -> None:
        """See a request; ``path`` is without its query."""
        known = (method, path)
        if known in self._remembered:
            return
        tree = self._tree(method)
        if tree is not None and not tree.observe(path):
            self._aside.setdefault(method, Distinct()).add(path)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.add(known)

    def add(self, method: str, shaped: Shape, seen: Sequence[str | Distinct]) -> None:
        """See all requests of one shape; ``seen`` are the segments behind each of its tokens."""
        tree = self._tree(method)
        if tree is not None:
            tree.add(shaped, seen)

    def merge(self, other: PortPaths) -> None:
        """See all that another saw."""
        self.has_more_methods |= other.has_more_methods
        for method, theirs in other._trees.items():
            tree = self._tree(method)
            if tree is not None:
                tree.merge(theirs)
        for method, aside in other._aside.items():
            if method in self._trees:
                self._aside.setdefault(method, Distinct()).merge(aside)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are told apart."""
        return tuple(sorted(self._trees))

    def mined(self, method: str, rule: Generalisation | None = None) -> Mined:
        """The templates of a method; none when it was not seen."""
        return mine(self._trees.get(method) or PathTree(self._budget), rule)

    def is_crowded(self, method: str) -> bool:
        """Whether more paths of a method were seen than are told apart."""
        tree = self._trees.get(method)
        return tree is not None and tree.is_crowded

    def aside(self, method: str) -> Distinct:
        """Paths that no pattern may stand for: a rule cannot say them, or an application may read them as other ones."""
        return self._aside.get(method) or Distinct()

    def _tree(self, method: str) -> PathTree | None:
        """The tree of a method; ``None`` when it is not told apart."""
        tree = self._trees.get(method)
        if tree is not None:
            return tree
        if len(self._trees) >= MAX_METHODS:
            self.has_more_methods = True
            last = max(self._trees, key=_rank)
            if _rank(method) > _rank(last):
                return None
            del self._trees[last]
            self._aside.pop(last, None)
        tree = self._trees[method] = PathTree(self._budget)
        return tree

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortPaths) and (self._trees, self._aside, self.has_more_methods) == (
            other._trees, other._aside, other.has_more_methods,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]  # it changes


def _rank(method: str) -> tuple[bool, str]:
    return (method not in _USUAL, method)
