"""What a sidecar sends is bounded where it is read, before anything remembers it."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.server.codec import MAX_ERROR_CHARACTERS, BadRequest, delta_request, sotw_request
from controlplane.store.sql import open_store
from controlplane.workflow.sidecars import SidecarStates
from tests.harness.mesh import NOW_MS


def refusal(said: str | None) -> list[str | None]:
    """What is read of a refusal, over both protocols; ``None`` for a request that refuses nothing."""
    found = []
    for message, read in ((DeltaDiscoveryRequest(), delta_request), (DiscoveryRequest(), sotw_request)):
        if said is not None:
            message.error_detail.message = said
        request = read(message.SerializeToString())
        assert not isinstance(request, BadRequest)
        found.append(request[1].error)
    return found


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_ERROR_CHARACTERS + 10))
@example("\x1b[2J\0")
def test_whatever_a_refusal_says_is_bounded_text(said: str) -> None:
    """No control characters but the ends of lines and tabs, which Envoy writes; all else as it was said."""
    for error in refusal(said):
        assert error is not None
        assert len(error) == min(len(said), MAX_ERROR_CHARACTERS)
        for was, now in zip(said, error, strict=False):
            assert now == (was if was.isprintable() or was in "\n\t" else "?")


def test_no_refusal_is_none_and_an_empty_one_is_one() -> None:
    assert refusal(None) == [None, None]
    assert refusal("") == ["", ""]


async def test_no_refusal_keeps_the_states_of_others_from_being_stored(postgresql_url: str) -> None:
    """One sidecar that says what a database does not take would hold up all of them, again and again."""
    store = open_store(postgresql_url)
    try:
        states = SidecarStates(store, lambda: NOW_MS)
        for error in refusal("no\0filter"):
            states.nacked("shop/cart", "cart-0", "lds", error or "")
        states.connected("shop/web", "web-0", "v1")
        await states.flush()
        assert [row.nack_message for row in store.sidecars()] == ["no?filter", ""]
    finally:
        store.close()
