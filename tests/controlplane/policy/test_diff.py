"""What differs between two policies, as values and as text for people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.diff import Change, diff, diff_text
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")
WEB, JOB = WorkloadId("shop", "web"), WorkloadId("shop", "job")
GET, ADD = HttpMatch("GET", "/cart"), HttpMatch("POST", "/cart/{id}")


def policy(**rules: tuple[Rule, ...]) -> Policy:
    """A policy by its services' names."""
    names = {ServiceName("shop", name): listed for name, listed in rules.items()}
    return Policy(1, {name: ServicePolicy(name, listed) for name, listed in names.items()})


def test_equal_policies_do_not_differ() -> None:
    """Neither in the order of rules, nor by services without any, nor by modes and revisions."""
    left = policy(cart=(Rule(WEB, 1), Rule(JOB, 1)), pay=())
    right = Policy(9, {CART: ServicePolicy(CART, (Rule(JOB, 1), Rule(WEB, 1)), 7)}, {CART: Mode.ENFORCE})
    assert diff(left, right) == ()
    assert diff_text(()) == ""


def test_a_rule_for_any_method_and_path_is_one_for_whatever_is_sent() -> None:
    assert diff(policy(cart=(Rule(WEB, 1, (HttpMatch(),)),)), policy(cart=(Rule(WEB, 1),))) == ()


def test_every_kind_of_difference_in_one_order() -> None:
    before = policy(cart=(Rule(WEB, 7070, (GET,)), Rule(JOB, 7070)), pay=(Rule(WEB, 443),))
    after = policy(cart=(Rule(WEB, 7070, (GET, ADD)), Rule(AddressSource("10.0.0.0/8"), 7070)), pay=(Rule(WEB, 443),))
    changes = diff(before, after)
    assert [(change.service, change.source, change.change) for change in changes] == [
        (CART, "ip:10.0.0.0/8", Change.ADDED),
        (CART, "shop/job", Change.REMOVED),
        (CART, "shop/web", Change.CHANGED),
    ]
    assert diff_text(changes) == (
        "shop/cart\n"
        "  + ip:10.0.0.0/8 -> :7070  anything\n"
        "  - shop/job -> :7070  anything\n"
        "  ~ shop/web -> :7070\n"
        "      + POST /cart/{id}\n"
    )


def test_from_some_methods_to_anything_is_told_as_that() -> None:
    changes = diff(policy(pay=(Rule(WEB, 443, (GET, HttpMatch("PUT"))),)), policy(pay=(Rule(WEB, 443),)))
    assert diff_text(changes) == "shop/pay\n  ~ shop/web -> :443\n      - GET /cart, PUT any path\n      + anything\n"


RULES = st.builds(
    Rule,
    st.sampled_from([WEB, JOB, AddressSource("10.0.0.0/8")]),
    st.sampled_from([443, 7070]),
    st.lists(st.sampled_from([GET, ADD, HttpMatch("PUT"), HttpMatch()]), max_size=3, unique=True).map(tuple),
)
POLICIES = st.builds(policy, cart=st.lists(RULES, max_size=4).map(tuple), pay=st.lists(RULES, max_size=4).map(tuple))


@given(before=POLICIES, after=POLICIES)
def test_backwards_is_the_same_with_its_sides_exchanged(before: Policy, after: Policy) -> None:
    there, back = diff(before, after), diff(after, before)
    assert [(c.service, c.source, c.port, c.before, c.after) for c in there] == [
        (c.service, c.source, c.port, c.after, c.before) for c in back
    ]
    assert diff(before, before) == ()
    assert diff_text(there).count("-> :") == len(there)
