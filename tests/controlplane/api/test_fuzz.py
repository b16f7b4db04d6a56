"""Whatever is sent, the API answers with what it said it would, or a problem document: never a failure of its own."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, Plane

# envoy-data-plane does what pydantic has deprecated, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")
# The store is shared by all examples: what one of them changed is what the next one meets.
SHARED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = st.sampled_from(["frontend", "shop/cart", "cart", "redis", "shop/redis", "nobody", "", "/", "a/b/c", "ip:10.0.0.1"])
NUMBERS = st.one_of(st.integers(-2, 6), st.sampled_from([2**31, 2**53, 2**63, 2**64, 10**30]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(allow_nan=False), NAMES, st.text(max_size=20))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3))
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "rows": st.lists(NUMBERS, max_size=4) | VALUES,
        "comment": st.text(max_size=30) | VALUES,
        "mode": st.sampled_from(["learn", "audit", "enforce", "quarantine"]) | VALUES,
        "services": st.lists(NAMES, max_size=3) | VALUES,
        "all": VALUES,
        "revision": NUMBERS | VALUES,
        "workload": NAMES | VALUES,
        "lifetime_seconds": VALUES,
    },
)
WRITES = st.sampled_from(
    [
        "POST /proposals/1/approve",
        "POST /proposals/2/approve",
        "POST /proposals/1/reject",
        "PUT /modes",
        "POST /policy/rollback",
        "POST /tokens",
        "POST /policy/apply",
        "POST /proofs",
        "POST /rollouts/1/pause",
        "POST /rollouts/1/stop",
        "POST /replay",
        "POST /break-glass",
        "POST /break-glass/1/end",
        "POST /learn/import",
        "POST /incidents/1/close",
        "POST /incidents/1/note",
        "POST /modes/release",
    ]
)
READS = st.sampled_from(
    [
        "/map", "/proposals", "/proposals/1", "/modes", "/policy", "/policy/revisions", "/policy/revisions/1", "/policy/diff",
        "/violations", "/violations/count", "/violations/histogram", "/violations/1", "/incidents",
        "/incidents/1", "/sidecars", "/audit", "/map/picture", "/preview",
        "/replay", "/parity", "/policy/revisions/1/replay", "/proposals/1/preview",
        "/break-glass", "/proofs", "/rollouts/1",
    ]
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "service",
            "status",
            "before",
            "after",
            "source",
            "verdict",
            "port",
            "text",
            "since_ms",
            "after_id",
            "x",
            "format",
            "namespace",
            "days",
            "rows",
        ]
    ),
    NUMBERS.map(str) | NAMES | st.sampled_from(["open", "denied", "true", "svg", "dot"]) | st.text(max_size=15),
    max_size=3,
)


@pytest.fixture
def busy(plane: Plane, api: FlaskClient) -> FlaskClient:
    """An API with something behind every address."""
    plane.learn(GET_CART, ADD_CART, PAY, REDIS)
    plane.violate(PAY)
    plane.review.refresh_proposal()
    plane.review.approve(1, "alice", rows=[1])
    plane.review.refresh_proposal()
    return api


def is_told(answer: object) -> None:
    """Whether an answer is JSON of the right kind, and no failure."""
    status, kind = answer.status_code, answer.headers["Content-Type"]  # type: ignore[attr-defined]  # a werkzeug TestResponse
    assert status < 500
    assert kind == ("application/json" if status < 400 else "application/problem+json")
    answer.get_json()  # type: ignore[attr-defined]  # as above


@SHARED
@given(call=WRITES, body=BODIES)
def test_bodies_of_the_right_names(busy: FlaskClient, call: str, body: dict[str, object]) -> None:
    method, path = call.split()
    fields = {"approve": {"rows", "comment"}, "reject": {"comment"}, "modes": {"mode", "services", "all", "comment"}}
    wanted = fields.get(path.rpartition("/")[2], {"revision", "comment", "workload", "lifetime_seconds"})
    sent = {name: value for name, value in body.items() if name in wanted}
    is_told(busy.open(f"/api/v1{path}", method=method, data=json.dumps(sent), content_type="application/json"))


@SHARED
@given(call=WRITES, body=VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_any_body(busy: FlaskClient, call: str, body: bytes) -> None:
    method, path = call.split()
    is_told(busy.open(f"/api/v1{path}", method=method, data=body, content_type="application/json"))


@SHARED
@given(path=READS, query=QUERIES)
def test_any_query(busy: FlaskClient, path: str, query: dict[str, str]) -> None:
    is_told(busy.get(f"/api/v1{path}", query_string=query))


@SHARED
@given(part=st.text(max_size=20), before=st.sampled_from(["/proposals/", "/policy/revisions/", "/sidecars/", "/"]))
def test_any_address(busy: FlaskClient, part: str, before: str) -> None:
    path = quote(part, safe="/")
    answer = busy.get(f"/api/v1{before}{path}/config" if before == "/sidecars/" else f"/api/v1{before}{path}")
    assert answer.status_code in {200, 308, 404, 405}
