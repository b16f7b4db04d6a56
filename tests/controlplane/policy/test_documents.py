"""Policies as JSON text: read as written, ordered, and refused with a reason when they are something else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import DocumentError, PolicyTexts, dump_policy, load_policy, parse_source
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies

CART = ServiceName("shop", "cart")


def _as_set(listed: ServicePolicy) -> set[tuple[object, int, frozenset[HttpMatch]]]:
    return {(rule.source, rule.port, frozenset(rule.http)) for rule in listed.rules}


@given(policies())
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    read = load_policy(dump_policy(policy), policy.revision, policy.modes, policy.default_mode)
    assert (read.revision, read.modes, read.default_mode) == (policy.revision, policy.modes, policy.default_mode)
    for name in {*policy.services, *read.services}:
        written, found = policy.services[name], read.services[name]
        assert (found.service, found.revision, found.egress_revision, found.revoked, found.egress_revoked) == (
            written.service, written.revision, written.egress_revision, written.revoked, written.egress_revoked,
        )  # fmt: skip
        assert _as_set(found) == _as_set(written)
    assert dump_policy(read) == dump_policy(policy)


@given(st.lists(policies(), min_size=1, max_size=4), st.data())
def test_one_policy_after_another_has_the_text_that_each_has_alone(found: list[Policy], data: st.DataObject) -> None:
    """Services that are the same values as before, changed, new and gone."""
    texts = PolicyTexts()
    for before, after in pairwise(found):
        assert texts.dump(before) == dump_policy(before)
        kept = {name: before.services[name] for name in before.services if data.draw(st.booleans())}
        mixed = Policy(after.revision, {**after.services, **kept}, after.modes, after.default_mode)
        assert texts.dump(mixed) == dump_policy(mixed)


def test_the_text_is_stable_and_readable() -> None:
    rules = (Rule(AddressSource("10.0.0.0/8"), 80), Rule(WorkloadId("shop", "front"), 80, (HttpMatch("GET", "/x"),)))
    text = dump_policy(Policy(3, {CART: ServicePolicy(CART, rules, 2, 1, {80: 2}, {443: 1})}))
    assert text == (
        '{"services":[{"service":"shop/cart","revision":2,"egress_revision":1,"revoked":{"80":2},"egress_revoked":{"443":1},'
        '"rules":[{"source":"ip:10.0.0.0/8","port":80},{"source":"shop/front","port":80,"http":[{"method":"GET","path":"/x"}]}]}]}'
    )


@pytest.mark.parametrize(
    ("text", "source"),
    [("shop/cart", WorkloadId("shop", "cart")), ("ip:10.0.0.1", AddressSource("10.0.0.1/32")), ("ip:::1", AddressSource("::1"))],
)
def test_a_source_is_read(text: str, source: WorkloadId | AddressSource) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize("text", ["", "cart", "ip:", "ip:host", "a/b/c"])
def test_another_text_is_no_source(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_source(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"services":[{}]}',
        '{"services":[{"service":"a/b/c"}]}',
        '{"services":[{"service":"a/b","surprise":1}]}',
        '{"services":[{"service":"a/b","rules":[{"source":"x","port":1}]}]}',
        '{"services":[{"service":"a/b","rules":[{"source":"a/b","port":0}]}]}',
        '{"services":[{"service":"a/b","rules":[{"source":"a/b","port":1,"http":[{"path":"x"}]}]}]}',
        '{"services":[{"service":"a/b","revoked":{"x":1}}]}',
        '{"services":[{"service":"a/b"},{"service":"a/b"}]}',
    ],
)
def test_a_text_that_is_no_policy_is_refused_with_its_revision(text: str) -> None:
    with pytest.raises(DocumentError, match="revision 7 does not read: "):
        load_policy(text, 7, {}, Mode.LEARN)


@given(st.text(max_size=80))
def test_any_text_is_a_policy_or_a_document_error(text: str) -> None:
    try:
        policy = load_policy(text, 1, {}, Mode.LEARN)
    except DocumentError:
        return
    assert isinstance(policy, Policy)
