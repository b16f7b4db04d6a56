"""The query of the violation log as a value: terms that all have to hold, in a span of time. Pure; reads and writes no text.

`controlplane.violations.line` turns it from and into the line that people write.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

#: In a value it stands for any text, also for none.
ANY = "*"


class Field(enum.StrEnum):
    """What a term is about; the words of the line."""

    SOURCE = "from"
    DESTINATION = "to"
    VERDICT = "verdict"
    PORT = "port"
    PROTOCOL = "protocol"
    METHOD = "method"
    PATH = "path"
    HOST = "host"
    SNI = "sni"
    PEER = "peer"
    REPORTER = "reporter"
    DENY_ID = "deny"
    REVISION = "revision"
    TEXT = "text"


#: Their values are numbers or words of a list: no ``*`` in them.
EXACT = frozenset({Field.VERDICT, Field.PORT, Field.REVISION})
#: Their values are ends of edges, which may be written without their namespace.
ENDS = frozenset({Field.SOURCE, Field.DESTINATION, Field.REPORTER})


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a violation's field is one of ``values``, or with ``excludes`` none of them.

    In a value ``*`` stands for any text, but for `EXACT` fields and `Field.TEXT`, which is sought inside all texts without regard
    to case. The values of `Field.PORT` and `Field.REVISION` are decimal digits.
    """

    field: Field
    values: tuple[str, ...]
    excludes: bool = False

    @property
    def exact(self) -> str | None:
        """The only value that can match, where the term says so."""
        plain = len(self.values) == 1 and not self.excludes and self.field is not Field.TEXT
        return self.values[0] if plain and ANY not in self.values[0] else None


@dataclass(frozen=True, slots=True)
class Query:
    """All ``terms`` hold, and the last use lies in the span; times are Unix milliseconds, 0 where there is no bound.

    ``until_ms`` is not in the span itself.
    """

    terms: tuple[Term, ...] = ()
    since_ms: int = 0
    until_ms: int = 0

    def with_ends(self, named: Callable[[str], str]) -> Query:
        """The same with the ends of edges as flows write them."""
        return replace(self, terms=tuple(_named(term, named) for term in self.terms))


def _named(term: Term, named: Callable[[str], str]) -> Term:
    if term.field not in ENDS:
        return term
    return replace(term, values=tuple(value if ANY in value else named(value) for value in term.values))
