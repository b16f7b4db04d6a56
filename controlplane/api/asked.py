"""What a caller asks of the violation log: the query line with its names made whole, places between pages, one violation."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from controlplane.api.names import end_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_number
from controlplane.api.services import ApiServices
from controlplane.flows.model import Violation
from controlplane.store.interface import Store
from controlplane.store.stored import ViolationFilter
from controlplane.violations.line import BadQuery, parse
from controlplane.violations.query import Query


def asked(services: ApiServices, line: str) -> Query | BadQuery:
    """The query of a line; ends without a namespace get that of the service that is meant."""
    found = parse(line, services.clock_ms())
    return found if isinstance(found, BadQuery) else found.with_ends(partial(end_named, services.publisher.topology))


def asked_or_refused(services: ApiServices, line: str) -> Query:
    """The same.

    Raises:
        ApiProblemError: the line does not read.
    """
    found = asked(services, line)
    if isinstance(found, BadQuery):
        raise problem(HTTPStatus.BAD_REQUEST, "query", found.text, where="query.q", remedy=found.remedy)
    return found


def filter_of(query: Query, before: str = "") -> ViolationFilter:
    """What the store is asked; ``before`` is a place as `place` writes it."""
    last_seen_ms, _, number = before.partition("-")
    return ViolationFilter(
        since_ms=query.since_ms,
        until_ms=query.until_ms,
        terms=query.terms,
        before=(int(last_seen_ms), int(number)) if before else None,
    )


def place(before: tuple[int, int] | None) -> str:
    """Where to go on, as addresses have it; empty where there is no more."""
    return "" if before is None else f"{before[0]}-{before[1]}"


def violation_numbered(store: Store, number: str) -> Violation:
    """The violation of a number in an address.

    Raises:
        ApiProblemError: there is none.
    """
    wanted = read_number(number, "violation")
    found = store.violations(ViolationFilter(after_id=wanted - 1 or -1), 1)
    if not found or found[0].id != wanted:
        detail, remedy = f"there is no violation {wanted}", "it may have been removed by age; look through the log"
        raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=remedy)
    return found[0]
