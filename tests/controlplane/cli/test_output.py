"""What people read: times in one unit, names without their usual namespace, and nothing that a terminal obeys."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.cli.output import ago, asks_for, clean, clock, moment, short, until


@given(text=st.text())
def test_whatever_comes_is_printable(text: str) -> None:
    assert clean(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("käse ✓", "käse ✓"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202e", "\\u202e"),
        ("\x9b", "\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7140, "119 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_a_span_has_one_unit(monkeypatch: pytest.MonkeyPatch, seconds: int, text: str) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert ago((1_000_000 - seconds) * 1000) == f"{text} ago"
    if seconds:
        assert until((1_000_000 + seconds) * 1000) == f"in {text}"
    assert ago((1_000_000 + 5) * 1000) == "0 s ago"
    assert until((1_000_000 - seconds) * 1000) == f"{text} ago"


@pytest.mark.parametrize(("seconds", "text"), [(299.9, "5 min"), (0.9, "1 s"), (90 * 86_400 - 1, "90 d")])
def test_a_time_to_come_is_told_by_the_nearest_unit(monkeypatch: pytest.MonkeyPatch, seconds: float, text: str) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert until(round((1_000_000 + seconds) * 1000)) == f"in {text}"


def test_what_never_happened_is_a_dash() -> None:
    assert (ago(None), until(None), moment(None), clock(None)) == ("-", "-", "-", "-")


def test_a_clock_leaves_todays_date_out() -> None:
    now_ms = int(time.time() * 1000)
    assert moment(now_ms).endswith(clock(now_ms))
    assert clock(0) == moment(0)


def test_an_edge_is_told_in_short() -> None:
    http = [{"method": method, "path": path} for method, path in (("GET", "/a"), ("POST", ""), ("", "/b"), ("", ""))]
    assert asks_for({"protocol": "http", "http": http}) == "http GET /a, POST, /b and 1 more"
    assert asks_for({"protocol": "grpc", "http": [{"method": "POST", "path": "/shop.v1.Cart/Get"}]}) == "grpc Cart/Get"
    assert asks_for({"protocol": "redis", "http": []}) == "redis"


def test_a_name_in_the_default_namespace_is_told_in_short() -> None:
    assert (short("default/cart"), short("shop/cart")) == ("cart", "shop/cart")
