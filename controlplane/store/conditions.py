"""A violation filter as conditions on tables. Runs nothing.

Texts with ``*`` and sought texts are compared without regard to case (SQLite: of ASCII letters); all others as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, FromClause, and_, not_, or_

from controlplane.store import tables
from controlplane.store.stored import ViolationFilter
from controlplane.violations.query import ANY, Field, Term

MAX_INTEGER = 2**63 - 1
_ESCAPE = "\\"
_COLUMNS = {
    Field.SOURCE: "source", Field.DESTINATION: "destination", Field.VERDICT: "verdict", Field.PORT: "port",
    Field.PROTOCOL: "protocol", Field.METHOD: "method", Field.PATH: "path", Field.HOST: "host", Field.SNI: "server_name",
    Field.PEER: "peer_address", Field.REPORTER: "reporter", Field.DENY_ID: "deny_id", Field.REVISION: "deny_id",
}  # fmt: skip
_TEXTS = ("source", "destination", "method", "path", "host", "server_name", "peer_address", "deny_id", "reason")
_DENY = "deny:"
_BETWEEN = "\x1f"
#: What the hourly sums know, too.
HOURLY = frozenset({Field.SOURCE, Field.DESTINATION, Field.VERDICT, Field.PORT, Field.PROTOCOL})


def terms_of(wanted: ViolationFilter) -> tuple[Term, ...]:
    """All that a filter asks for but for times and ids."""
    plain = (
        (Field.SOURCE, wanted.source),
        (Field.DESTINATION, wanted.destination),
        (Field.VERDICT, str(wanted.verdict or "")),
        (Field.PORT, "" if wanted.port is None else str(wanted.port)),
        (Field.TEXT, wanted.text),
    )
    return (*wanted.terms, *(Term(field, (value,)) for field, value in plain if value))


def holds(table: FromClause, terms: Iterable[Term]) -> list[ColumnElement[bool]]:
    """The conditions of terms on a table that has their columns."""
    return [_holds(table, term) for term in terms]


def _holds(table: FromClause, term: Term) -> ColumnElement[bool]:
    either = or_(*(_is(table, term.field, value) for value in term.values))
    return not_(either) if term.excludes else either


def _is(table: FromClause, field: Field, value: str) -> ColumnElement[bool]:
    if field is Field.TEXT:
        # One comparison of all of them is several times as fast as one of each; no text that is sought has the mark in between.
        together: ColumnElement[str] = table.c[_TEXTS[0]]
        for name in _TEXTS[1:]:
            together = together + _BETWEEN + table.c[name]
        return together.icontains(value, autoescape=True)
    column = table.c[_COLUMNS[field]]
    match field:
        case Field.PORT:
            return column == int(value)
        case Field.REVISION:
            # As `xds.names` writes them: "deny:shop/cart@r7", and "/egress" behind it where the source's side denied.
            return or_(column.endswith(f"@r{value}", autoescape=True), column.contains(f"@r{value}/", autoescape=True))
        case Field.DENY_ID:
            value = _DENY + value
        case _:
            pass
    return column.ilike(_pattern(value), escape=_ESCAPE) if ANY in value else column == value


def _pattern(value: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        value = value.replace(special, _ESCAPE + special)
    return value.replace(ANY, "%")


def within(table: FromClause, wanted: ViolationFilter) -> list[ColumnElement[bool]]:
    """The conditions on times, ids and who meant it."""
    found: list[ColumnElement[bool]] = []
    if wanted.after_id:
        found.append(table.c.id > min(wanted.after_id, MAX_INTEGER))
    if wanted.since_ms:
        found.append(table.c.last_seen_ms >= min(wanted.since_ms, MAX_INTEGER))
    if wanted.until_ms:
        found.append(table.c.last_seen_ms < min(wanted.until_ms, MAX_INTEGER))
    if wanted.before is not None:
        last_seen_ms, number = (min(bound, MAX_INTEGER) for bound in wanted.before)
        # The first part alone is what an index by time answers.
        later = and_(table.c.last_seen_ms == last_seen_ms, table.c.id >= number)
        found += [table.c.last_seen_ms <= last_seen_ms, not_(later)]
    return found


def of_a_kind(table: FromClause, wanted: ViolationFilter) -> list[ColumnElement[bool]]:
    """The condition on what a violation is: a probe only where those are wanted, too."""
    return [] if wanted.probes else [table.c.probe == 0]


def driving(terms: Iterable[Term]) -> Term | None:
    """The term that an index answers best; ``None`` when only the index by time is left."""
    known = {term.field: term for term in reversed(list(terms)) if term.exact is not None}
    return next((known[field] for field in (Field.DENY_ID, Field.SOURCE, Field.DESTINATION) if field in known), None)


def violations_filtered(wanted: ViolationFilter) -> list[ColumnElement[bool]]:
    """All conditions on the violations themselves."""
    return [*within(tables.violations, wanted), *of_a_kind(tables.violations, wanted), *holds(tables.violations, terms_of(wanted))]
