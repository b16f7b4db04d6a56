"""Written documents follow a policy: what still holds stays as it was, with its comments; the rest goes or is added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import merge
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import policy_of, read_documents
from controlplane.policy.traffic_edit import Updated, update
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.traffic_text import format_text, write_documents
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import RULE_LISTS
from tests.controlplane.policy.traffic import documents

CART = ServiceName("shop", "cart")
WEB, BATCH, NEW = (WorkloadId("shop", name) for name in ("web", "batch", "new"))
TEXT = """\
# cart is ours
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: cart
  namespace: shop
spec:
  mode: audit  # until May
  rules:
  # the shop
  - from:
    - workload: shop/web  # the site
    - workload: shop/batch  # nightly
    ports: [70, 71]
    http:
    - method: GET
      path: /cart/{id}
    lease:
      owner: team-shop
  # old
  - from:
    - cidr: 10.0.0.0/8
    ports: [70]
# the end
"""


def _update(text: str, *rules: Rule, mode: Mode | None = None) -> str:
    modes = {} if mode is None else {CART: mode}
    made = update(text.encode(), "cart.yaml", Policy(1, {CART: ServicePolicy(CART, rules)}, modes))
    assert isinstance(made, Updated), made
    assert made.services == (CART,)
    return made.text


def _get(source: WorkloadId, port: int) -> Rule:
    return Rule(source, port, (HttpMatch("GET", "/cart/{id}"),))


def test_what_holds_stays_as_it_is_written() -> None:
    rules = [_get(source, port) for source in (WEB, BATCH) for port in (70, 71)]
    assert _update(TEXT, *rules, Rule(AddressSource("10.0.0.0/8"), 70), mode=Mode.AUDIT) == TEXT


def test_a_rule_that_went_takes_its_comments_along_and_others_keep_theirs() -> None:
    text = _update(TEXT, *[_get(source, port) for source in (WEB, BATCH) for port in (70, 71)])
    assert "# old" not in text
    assert text == TEXT.replace("  # old\n  - from:\n    - cidr: 10.0.0.0/8\n    ports: [70]\n", "")


def test_a_peer_that_went_leaves_the_others_of_its_rule() -> None:
    text = _update(TEXT, _get(WEB, 70), _get(WEB, 71), Rule(AddressSource("10.0.0.0/8"), 70))
    assert text == TEXT.replace("    - workload: shop/batch  # nightly\n", "")


def test_a_port_that_went_leaves_the_others_of_its_rule() -> None:
    text = _update(TEXT, _get(WEB, 71), _get(BATCH, 71), Rule(AddressSource("10.0.0.0/8"), 70))
    assert text == TEXT.replace("ports: [70, 71]", "ports: [71]")


def test_what_is_new_is_a_rule_of_its_own_at_the_end_without_a_lease() -> None:
    kept = [_get(source, port) for source in (WEB, BATCH) for port in (70, 71)]
    text = _update(TEXT, *kept, Rule(AddressSource("10.0.0.0/8"), 70), _get(NEW, 70))
    new = "  - from:\n    - workload: shop/new\n    ports: [70]\n    http:\n    - method: GET\n      path: /cart/{id}\n"
    assert text == TEXT.replace("# the end", f"{new}# the end")


def test_a_mode_that_is_written_follows_and_one_that_is_not_is_left_to_the_control_plane() -> None:
    assert "  mode: enforce  # until May\n" in _update(TEXT, mode=Mode.ENFORCE)
    assert "mode:" not in _update(TEXT.replace("  mode: audit  # until May\n", ""), mode=Mode.ENFORCE)


def test_a_document_without_rules_gets_its_first() -> None:
    head = TEXT[: TEXT.index("  mode:")]
    assert _update(head.replace("spec:\n", "spec: {}\n"), Rule(WEB, 70)) == (
        f"{head}  rules:\n  - from:\n    - workload: shop/web\n    ports: [70]\n"
    )


def test_what_cannot_be_updated_safely_is_refused() -> None:
    for text in ("a: [", TEXT.replace("[70]", "[0]"), f"{TEXT}---\n{TEXT}", f"{TEXT}---\napiVersion: v1\nkind: Service\n"):
        found = update(text.encode(), "cart.yaml", Policy())
        assert not isinstance(found, Updated)
        assert len(found) == 1


@given(documents(most=2), st.lists(RULE_LISTS, min_size=2, max_size=2))
def test_updated_documents_mean_the_policy(written: tuple[TrafficPolicy, ...], rules: list[tuple[Rule, ...]]) -> None:
    wanted = Policy(
        1, {document.service: ServicePolicy(document.service, listed) for document, listed in zip(written, rules, strict=False)}
    )
    made = update(write_documents(written).encode(), "f.yaml", wanted)
    assert isinstance(made, Updated)
    found = policy_of(read_documents(made.text.encode(), "f.yaml").documents)
    for document in written:
        assert merge(found.of(document.service).rules) == merge(wanted.of(document.service).rules)
    assert format_text(made.text.encode(), "f.yaml") == made.text


@given(documents())
def test_documents_that_mean_the_policy_already_stay(written: tuple[TrafficPolicy, ...]) -> None:
    """Unless one rule says part of what another says: then only the whole one is kept."""
    text = write_documents(written)
    made = update(text.encode(), "f.yaml", policy_of(written))
    assert isinstance(made, Updated)
    again = update(made.text.encode(), "f.yaml", policy_of(written))
    assert again == made
