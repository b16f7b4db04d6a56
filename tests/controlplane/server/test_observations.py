"""Whatever bytes a sidecar sends, reading them gives bounded values or a reason, and never another's observations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.observations import MAX_BATCH_BYTES, MAX_OBSERVATIONS, BadBatch, read_batch, read_observations
from controlplane.workflow.resolve import Observed
from protos.picket.v1.telemetry_pb2 import ALLOWED, INBOUND, OUTBOUND, Batch, Observation

CART = WorkloadId("shop", "cart")
TEXTS = st.one_of(
    st.sampled_from(["", "shop/cart", "shop/db", "10.0.0.1", "/a", "x" * 1025, "deny:shop/cart@r1", "deny:shop/db@r1/egress"]),
    st.text(max_size=40),
)
COUNTS = st.one_of(st.integers(0, 100), st.integers(0, 2**64 - 1), st.just(2**53))
OBSERVATIONS = st.builds(
    Observation, direction=st.integers(0, 3), verdict=st.integers(0, 4), peer_id=TEXTS, peer_address=TEXTS, service=TEXTS,
    dialled_address=TEXTS, port=st.one_of(st.integers(0, 65_536), st.just(2**32 - 1)), protocol=TEXTS, method=TEXTS, path=TEXTS,
    host=TEXTS, server_name=TEXTS, deny_id=TEXTS, reason=TEXTS, count=COUNTS, first_seen_ms=COUNTS, last_seen_ms=COUNTS,
)  # fmt: skip
GOOD: dict[str, Any] = {
    "direction": INBOUND, "verdict": ALLOWED, "service": "shop/cart", "port": 80, "count": 1, "first_seen_ms": 1, "last_seen_ms": 1,
    "peer_address": "10.0.0.1",
}  # fmt: skip
TEXT_FIELDS = (
    ("peer_id", 512), ("peer_address", 64), ("dialled_address", 64), ("protocol", 32), ("method", 64), ("path", 1024),
    ("host", 255), ("server_name", 255), ("deny_id", 256), ("reason", 256),
)  # fmt: skip


def read(**changed: Any) -> list[Observed] | BadBatch:
    """A good observation with something changed."""
    return read_observations([Observation(**(GOOD | changed))], CART, 0)


@given(st.one_of(st.binary(max_size=200), st.builds(bytes.__add__, st.just(b"\x0a\x20" + b"0" * 32), st.binary(max_size=60))))
def test_any_bytes_are_a_batch_within_bounds_or_a_reason(body: bytes) -> None:
    """Nothing is raised, and what is read keeps its bounds."""
    batch = read_batch(body)
    if isinstance(batch, BadBatch):
        assert batch.reason
        assert not batch.forged
        return
    assert len(batch.epoch) == 32
    assert 1 <= batch.sequence < 2**63
    assert 0 < len(batch.instance) <= 128
    assert len(batch.observations) <= MAX_OBSERVATIONS


@given(
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.integers(1, 2**63 - 1),
    st.from_regex(r"[a-z0-9-]{1,128}", fullmatch=True),
)
def test_every_good_batch_is_taken(epoch: str, sequence: int, instance: str) -> None:
    """The counterpart: bounds refuse nothing that is within them."""
    batch = Batch(epoch=epoch, sequence=sequence, instance=instance)
    assert read_batch(batch.SerializeToString()) == batch


def test_size_counts_before_anything_is_read() -> None:
    """A batch of exactly the limit is read, and refused for what it holds; one byte more is refused for its size."""
    assert read_batch(b"\xff" * MAX_BATCH_BYTES) == BadBatch("not a picket.v1.Batch")
    assert "bytes" in str(read_batch(b"\xff" * (MAX_BATCH_BYTES + 1)))


@given(st.lists(OBSERVATIONS, max_size=4), st.integers(0, 9_000))
def test_observations_are_within_bounds_or_named(messages: list[Observation], first_index: int) -> None:
    """All of them are taken, or the reason names one of them; a peer's own words never make a long reason."""
    found = read_observations(messages, CART, first_index)
    if isinstance(found, BadBatch):
        assert any(found.reason.startswith(f"observations[{first_index + index}].") for index in range(len(messages)))
        assert len(found.reason) < 400
        return
    assert len(found) == len(messages)
    for message, seen in zip(messages, found, strict=True):
        assert message.service == "shop/cart" or not seen.inbound
        assert 0 < seen.port < 65_536
        assert 0 < seen.first_seen_ms <= seen.last_seen_ms
        assert seen.deny_id in {"", "deny:shop/cart@r1"}
        assert seen.peer_address == "10.0.0.1" or (not seen.peer_address and (seen.peer_id or not seen.inbound))
        for name, limit in TEXT_FIELDS:
            text = getattr(seen, name)
            assert text == getattr(message, name), f"{name} is where another field belongs"
            assert len(text) <= limit
            assert text.isprintable()


@given(st.text(max_size=200).filter(lambda text: text != "shop/cart"))
def test_an_inbound_observation_of_another_service_is_a_forgery(service: str) -> None:
    """Whatever it is called, also by a name that looks like one's own."""
    bad = read(service=service)
    assert isinstance(bad, BadBatch)
    assert bad.forged


@given(st.ip_addresses().map(str) | st.just("fe80::1%2"), st.booleans())
def test_every_address_is_taken(address: str, inbound: bool) -> None:
    direction = INBOUND if inbound else OUTBOUND
    assert isinstance(read(direction=direction, peer_address=address, dialled_address=address), list)


@pytest.mark.parametrize("name", ["peer_address", "dialled_address"])
@pytest.mark.parametrize("text", ["nowhere", "10.0.0.1:80", "10.0.0", "10.0.0.256", "[::1]", "/run/app.sock", "10.0.0.1 "])
def test_what_is_no_address_names_nobody(name: str, text: str) -> None:
    """It would be the name of a source in the map, and in a rule that somebody approves."""
    bad = read(**{name: text})
    assert isinstance(bad, BadBatch)
    assert bad.reason == f"observations[0].{name}: {text!r} is no IP address"


def test_a_caller_without_an_address_is_refused() -> None:
    assert isinstance(read(peer_address="", peer_id="spiffe://picket.test/ns/shop/sa/web"), list)
    assert read(peer_address="") == BadBatch("observations[0].peer_address: who called from nowhere")
    assert isinstance(read(peer_address="", direction=OUTBOUND), list)


@pytest.mark.parametrize("suffix", ["", "/egress", "/quarantine"])
def test_a_deny_id_of_another_service_is_a_forgery(suffix: str) -> None:
    assert isinstance(read(deny_id=f"deny:shop/cart@r7{suffix}"), list)
    bad = read(deny_id=f"deny:shop/db@r7{suffix}")
    assert isinstance(bad, BadBatch)
    assert bad.forged


@pytest.mark.parametrize("text", ["none", "deny:", "deny:shop/cart", "would-deny:shop/cart@r1", "deny:shop/cart@r1/other"])
def test_what_is_no_deny_id_is_refused(text: str) -> None:
    assert read(deny_id=text) == BadBatch(f"observations[0].deny_id: {text!r} is none")


@given(st.sampled_from(TEXT_FIELDS), st.booleans())
def test_each_text_has_its_own_limit(field: tuple[str, int], inbound: bool) -> None:
    """As long as it may be it is taken, one more and it is not, nor is a control character."""
    name, limit = field
    direction = INBOUND if inbound else OUTBOUND
    if name not in {"peer_address", "dialled_address", "deny_id"}:  # these are more than texts
        assert isinstance(read(direction=direction, **{name: "x" * limit}), list)
    for text in ("x" * (limit + 1), "a\x00", "a\x1b[2J"):
        bad = read(direction=direction, **{name: text})
        assert isinstance(bad, BadBatch)
        assert bad.reason.startswith(f"observations[0].{name}: ")
