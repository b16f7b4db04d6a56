"""Property: however flows are cut into batches, and whatever is sent again, the stored sums are the sums of the flows."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, LearnedEdge, Verdict
from controlplane.store.sql import SqlStore
from controlplane.store.stored import ViolationFilter

_examples = itertools.count()
_flows = st.lists(
    st.tuples(
        st.sampled_from(["ns/a", "ns/b", "ip:10.0.0.1"]),
        st.sampled_from(list(Verdict)),
        st.integers(0, 1_000),
        st.integers(1, 300_000),
        st.integers(0, 100_000),
    ),
    max_size=20,
)


@pytest.mark.parametrize("one_transaction", [False, True])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), drawn=_flows)
def test_splits_and_replays_do_not_change_the_sums(
    store: SqlStore, one_transaction: bool, data: st.DataObject, drawn: list[tuple[str, Verdict, int, int, int]]
) -> None:
    """Batches of any size, sent any number of times, also late, in one transaction or in many."""
    # Examples share the database: each has an epoch and a destination of its own.
    example = next(_examples)
    epoch, destination = f"{example:032x}", f"t/{example}"
    flows = [
        Flow(EdgeKey(source, destination, 80, "tcp"), verdict, destination, "in", count, first, first + length)
        for source, verdict, count, first, length in drawn
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(flows)), max_size=6)))
    batches = [flows[start:end] for start, end in itertools.pairwise([0, *cuts, len(flows)])]
    sent = [index for last in range(len(batches)) for index in (last, *data.draw(st.lists(st.integers(0, last), max_size=3)))]
    if one_transaction:
        with store.transaction() as transaction:
            stored = [transaction.record_batch("t/x", "x", epoch, i + 1, batches[i], 0, 1).stored for i in sent]
    else:
        stored = []
        for i in sent:
            with store.transaction() as transaction:
                stored.append(transaction.record_batch("t/x", "x", epoch, i + 1, batches[i], 0, 1).stored)

    assert sum(stored) == len(batches)
    assert [edge for edge in store.edges() if edge.key.destination == destination] == _expected_edges(flows)
    refused = [flow for flow in flows if flow.verdict is not Verdict.ALLOWED]
    rows = store.violations(ViolationFilter(destination=destination), 1_000)
    least = Counter[Verdict]()
    for flow in refused:
        least[flow.verdict] += flow.count
    for verdict, count in least.items():
        of_verdict = [row for row in rows if row.verdict is verdict]
        opened_by_zero = sum(1 for flow in refused if flow.verdict is verdict and flow.count == 0)
        assert count <= sum(row.count for row in of_verdict) <= count + opened_by_zero
        assert all(row.count >= 1 for row in of_verdict)
    assert {row.edge for row in rows} == {flow.edge for flow in refused}


def _expected_edges(flows: list[Flow]) -> list[LearnedEdge]:
    """The sums, taken the plain way."""
    allowed = [flow for flow in flows if flow.verdict is Verdict.ALLOWED]
    by_edge = {key: [flow for flow in allowed if flow.edge == key] for key in sorted({flow.edge for flow in allowed})}
    return [
        LearnedEdge(key, sum(f.count for f in uses), min(f.first_seen_ms for f in uses), max(f.last_seen_ms for f in uses))
        for key, uses in by_edge.items()
    ]
