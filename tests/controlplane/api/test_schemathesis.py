"""Every operation of the described API, called by Schemathesis with what the description allows and with what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.wsgi import ClosingIterator

from controlplane.api.operations import OPERATIONS
from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, TOKEN, Plane
from tests.harness.plane import plane as make_plane

# envoy-data-plane does what pydantic has deprecated, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: The same each time, so that whether a change is let in does not hang on luck.
BOUNDED = settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def busy() -> Iterator[Plane]:
    """A control plane with something behind every address; what one call changes is what the next one meets."""
    with make_plane() as plane:
        plane.learn(GET_CART, ADD_CART, PAY, REDIS)
        plane.violate(PAY)
        plane.review.refresh_proposal()
        plane.review.approve(1, "alice", rows=[1])
        plane.review.refresh_proposal()
        yield plane


def _closed(app: WSGIApplication) -> WSGIApplication:
    """The same with each answer read and closed, as servers do and Schemathesis does not."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        with closing(ClosingIterator(app(environ, start))) as pieces:
            return [b"".join(pieces)]

    return answer


@pytest.fixture(scope="module")
def operations(busy: Plane) -> dict[str, Any]:
    """The described operations, by endpoint."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", _closed(busy.app()), headers=HEADERS)
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {operation.definition.raw["operationId"]: operation for operation in found}


TAKING = sorted(name for name, one in OPERATIONS.items() if one.body is not None or (one.query and one.query.__struct_fields__))
#: Of its own description Schemathesis makes no calls.
CALLS = [(name, GenerationMode.POSITIVE) for name in sorted(OPERATIONS) if name != "openapi.show"]
CALLS += [(name, GenerationMode.NEGATIVE) for name in TAKING]


@pytest.mark.parametrize(("endpoint", "mode"), CALLS)
def test_an_operation_answers_as_it_is_described(operations: dict[str, Any], endpoint: str, mode: GenerationMode) -> None:
    operation = operations[endpoint.replace(".", "_").replace("-", "_")]

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, checks=CHECKS)

    call()
