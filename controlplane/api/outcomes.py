"""Turns what workflow answers into responses: a value of a schema, or a problem that says why nothing was done."""

from __future__ import annotations

from http import HTTPStatus

from controlplane.api import proposal_schemas, schemas
from controlplane.api.problems import ApiProblemError, problem
from controlplane.workflow.agreement import Agreed
from controlplane.workflow.revisions import Done, Published, Refused, Why

_STATUS = {
    Why.MISSING: HTTPStatus.NOT_FOUND,
    Why.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Why.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Why.CONFLICT: HTTPStatus.CONFLICT,
}


def published(outcome: Published | Refused, remedy: str) -> schemas.Published:
    """A revision that is in force.

    Raises:
        ApiProblemError: nothing was done.
    """
    if isinstance(outcome, Refused):
        raise refusal(outcome, remedy)
    return schemas.Published(outcome.revision, [str(service) for service in outcome.services], outcome.staged)


def approved(outcome: Published | Agreed | Refused, remedy: str) -> proposal_schemas.Approved:
    """What became of an approval.

    Raises:
        ApiProblemError: nothing was done.
    """
    if isinstance(outcome, Refused):
        raise refusal(outcome, remedy)
    made = outcome.published if isinstance(outcome, Agreed) else outcome
    waiting = outcome.waiting if isinstance(outcome, Agreed) else ()
    return proposal_schemas.Approved(
        None if made is None else made.revision,
        [] if made is None else [str(service) for service in made.services],
        [proposal_schemas.WaitingRow(found.row, found.edge, found.lacks) for found in waiting],
        made is not None and made.staged,
    )


def done(outcome: Done | Refused, remedy: str) -> schemas.Done:
    """What was done.

    Raises:
        ApiProblemError: nothing was done.
    """
    if isinstance(outcome, Refused):
        raise refusal(outcome, remedy)
    return schemas.Done(outcome.detail)


def refusal(outcome: Refused, remedy: str) -> ApiProblemError:
    """The problem that tells a refusal."""
    return problem(_STATUS[outcome.why], f"{outcome.why}", outcome.reason, remedy=remedy)
