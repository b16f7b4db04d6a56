"""Counting: every line once, bounded whatever clients make up, and always within what the control plane takes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, WOULD_DENY, Batch, Observation
from sidecar import aggregate
from sidecar.accesslog import MAX_TIME_MS
from sidecar.aggregate import MAX_ALIKE, MAX_DETAILS, MAX_METHODS, Window
from tests.sidecar.envoylines import http, http_out, tcp
from tests.sidecar.received import received

T0 = 1_795_573_722_028
DENY = "deny:shop/cart@r7"
DENIED_BY_LIST = f"rbac_access_denied_matched_policy[{DENY}]"


def window(watermark_ms: int = 0, clock_ms: Callable[[], int] = lambda: MAX_TIME_MS) -> Window:
    return Window("shop/cart", watermark_ms, clock_ms)


def take(counted: Window, *, ends_window: bool = True) -> tuple[list[Observation], int]:
    """What was counted, after the control plane's own checks."""
    observations, lost = counted.take(ends_window=ends_window)
    received(Batch(epoch="0" * 32, sequence=1, instance="a", lost=lost, observations=observations).SerializeToString())
    return observations, lost


def counts(counted: Window) -> list[tuple[int, int]]:
    """(verdict, count) of each use."""
    observations, lost = take(counted)
    assert lost == 0
    return sorted((seen.verdict, seen.count) for seen in observations)


def has_news(counted: Window) -> bool:
    return counted.has_news


def test_requests_of_one_path_are_one_observation() -> None:
    counted = window()
    counted.add(b"".join(http(path="/cart", t=str(T0 + n), dur=5) for n in range(100)))
    (seen,), lost = take(counted)
    assert (seen.count, seen.path, seen.first_seen_ms, seen.last_seen_ms, lost) == (100, "/cart", T0, T0 + 99 + 5, 0)
    assert not counted


def test_paths_that_differ_in_identifiers_are_a_few_observations() -> None:
    """Some of them stand for the others; no request is lost, and other paths are not among them."""
    counted = window()
    counted.add(b"".join(http(path=f"/cart/{n}/items") for n in range(1000)) + http(path="/cart/list") * 3)
    observations, _ = take(counted)
    alike = [seen for seen in observations if seen.path != "/cart/list"]
    assert (len(alike), sum(seen.count for seen in alike)) == (MAX_ALIKE, 1000)
    assert {seen.path for seen in alike} == {f"/cart/{n}/items" for n in range(MAX_ALIKE)}
    take(counted)
    counted.add(http(path="/cart/777/items"))
    assert [seen.path for seen in take(counted)[0]] == ["/cart/777/items"]


def test_numbers_in_grpc_methods_and_in_denied_paths_are_told_apart() -> None:
    """The one names what was called, the other is what a person has to look at."""
    counted = window()
    for n in range(3 * MAX_ALIKE):
        counted.add(http(path=f"/shop.v{n}.Cart/Add", ctype="application/grpc") + http(path=f"/x/{n}", detail=DENIED_BY_LIST))
    assert len(take(counted)[0]) == 6 * MAX_ALIKE


def test_peers_methods_ports_and_verdicts_are_told_apart() -> None:
    counted = window()
    counted.add(http() + http(peer="spiffe://picket.test/ns/shop/sa/api") + http(method="POST") + http(port=81) + tcp())
    counted.add(http(shadow=DENY, shadow_result="denied") + http(detail=DENIED_BY_LIST))
    assert len(take(counted)[0]) == 7


def test_denied_paths_are_kept_up_to_a_bound_and_no_count_is_lost() -> None:
    counted = window()
    for n in range(3 * MAX_DETAILS):
        counted.add(http(path=f"/scan/{n}", detail=DENIED_BY_LIST) * 2)
    observations, _ = take(counted)
    assert len(observations) == MAX_DETAILS + 1
    assert sum(seen.count for seen in observations) == 6 * MAX_DETAILS
    (rest,) = [seen for seen in observations if not seen.path]
    assert (rest.count, rest.host) == (4 * MAX_DETAILS, "")


def test_the_bound_on_paths_holds_across_the_early_reports_of_a_window() -> None:
    counted = window()
    paths = set()
    for n in range(3 * MAX_DETAILS):
        counted.add(http(path=f"/scan/{n}", detail=DENIED_BY_LIST))
        paths |= {seen.path for seen in take(counted, ends_window=False)[0]}
    assert len(paths) == MAX_DETAILS + 1
    take(counted)
    counted.add(http())
    for n in range(3 * MAX_DETAILS):
        counted.add(http_out(host=f"h{n}.test"))
    assert len(take(counted)[0]) == MAX_DETAILS + 2, "anew in each window"


def test_whoever_is_denied_makes_so_many_rows_a_minute_and_no_more() -> None:
    """It can make up requests without end, of any method, and each that is told apart is a row of the violation log."""
    counted = window()
    rows: list[tuple[str, str]] = []
    total = 0
    for n in range(14):
        at = str(T0 + 5_000 * n)
        counted.add(
            b"".join(http(method=f"M{m}", path=f"/{n}/{m}/{p}", detail=DENIED_BY_LIST, t=at) for m in range(9) for p in range(20))
        )
        observations, _ = take(counted)
        rows += [(seen.method, seen.path) for seen in observations if seen.path]
        total += sum(seen.count for seen in observations)
        assert len(observations) <= MAX_DETAILS + 9
        if n == 12:
            assert len(rows) == MAX_DETAILS
    assert (len(rows), total) == (2 * MAX_DETAILS, 14 * 9 * 20)


def test_hosts_and_grpc_paths_are_bounded_too() -> None:
    counted = window()
    for n in range(2 * MAX_DETAILS):
        counted.add(http_out(host=f"h{n}.test") + http(path=f"/s/{n}", ctype="application/grpc"))
    observations, _ = take(counted)
    assert (len(observations), sum(seen.count for seen in observations)) == (2 * MAX_DETAILS + 2, 4 * MAX_DETAILS)


def test_methods_that_a_client_makes_up_are_bounded_and_ask_for_nothing() -> None:
    """HTTP/2 takes any token for a method; a use without one adds nothing to what is learned beside the others."""
    counted = window()
    for n in range(2 * MAX_METHODS):
        counted.add(http(method=f"M{n}") + http(method=f"M{n}", path=f"/{n}", detail=DENIED_BY_LIST))
    observations, _ = take(counted)
    assert (len(observations), sum(seen.count for seen in observations)) == (2 * MAX_METHODS + 2, 4 * MAX_METHODS)
    assert {(seen.verdict, seen.count, seen.path) for seen in observations if not seen.method} == {
        (ALLOWED, MAX_METHODS, ""),
        (DENIED, MAX_METHODS, ""),
    }


def test_a_window_says_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "MAX_USES", 3)
    counted = window()
    counted.add(http(remote="10.0.0.1") + http(remote="10.0.0.2"))
    assert not counted.is_full
    counted.add(http(remote="10.0.0.3"))
    assert counted.is_full


def test_a_violation_is_news_once() -> None:
    counted = window()
    counted.add(http())
    assert not has_news(counted)
    denied = http(detail=DENIED_BY_LIST)
    counted.add(denied)
    assert has_news(counted)
    take(counted)
    counted.add(denied)
    assert not has_news(counted)
    counted.add(http(shadow=DENY, shadow_result="denied"))
    assert has_news(counted)


def test_a_violation_that_was_away_for_long_is_news_again() -> None:
    counted = window()
    counted.add(http(detail=DENIED_BY_LIST))
    counted.add(http(t=str(T0 + aggregate.FORGET_MS + 1)))
    take(counted)
    counted.add(http(detail=DENIED_BY_LIST, t=str(T0 + aggregate.FORGET_MS + 2)))
    assert has_news(counted)


def periods(count: int, **changes: object) -> list[bytes]:
    return [tcp(type="TcpPeriodic", dur=5_000 * n + 2, **changes) for n in range(1, count + 1)]


def test_an_open_connection_counts_once_and_is_seen_as_long_as_it_is_open() -> None:
    counted = window()
    first, second, third = periods(3)
    counted.add(first)
    (seen,), _ = take(counted)
    assert (seen.count, seen.last_seen_ms) == (1, T0 + 5_002)
    counted.add(second)
    (seen,), _ = take(counted)
    assert (seen.count, seen.first_seen_ms, seen.last_seen_ms) == (0, T0, T0 + 10_002)
    counted.add(third + tcp(dur=17_000))
    (seen,), _ = take(counted)
    assert (seen.count, seen.last_seen_ms) == (0, T0 + 17_000)


def test_a_slow_request_counts_once() -> None:
    counted = window()
    counted.add(http(type="DownstreamPeriodic", dur=4_997, code=0, detail=None) + http(dur=6_000))
    assert counts(counted) == [(ALLOWED, 1)]


def test_streams_of_one_http2_connection_count_each() -> None:
    counted = window()
    for path in ("/a", "/b"):
        counted.add(http(type="DownstreamPeriodic", dur=5_001, path=path, code=0, detail=None))
    counted.add(http(dur=6_000, path="/a") + http(dur=6_000, path="/b"))
    assert counts(counted) == [(ALLOWED, 1), (ALLOWED, 1)]


def test_a_request_that_took_long_but_was_never_logged_before_counts() -> None:
    counted = window()
    counted.add(http(dur=4_000) + http(dur=6_000, id=2))
    assert counts(counted) == [(ALLOWED, 2)]


def test_a_connection_number_that_is_used_again_is_another_connection() -> None:
    """Envoy counts from 1 again when it was restarted."""
    counted = window()
    counted.add(periods(1)[0] + periods(1, t=str(T0 + 60_000))[0])
    assert counts(counted) == [(ALLOWED, 2)]


def test_what_becomes_a_violation_only_later_is_counted_as_one() -> None:
    """The network filter decides on the first byte, which may come after the first periodic line."""
    counted = window()
    counted.add(periods(1)[0] + tcp(dur=8_000, shadow=DENY, shadow_result="denied"))
    assert counts(counted) == [(ALLOWED, 1), (WOULD_DENY, 1)]
    counted.add(periods(1, id=2)[0] + tcp(id=2, dur=8_000, term=DENIED_BY_LIST))
    assert counts(counted) == [(ALLOWED, 1), (DENIED, 1)]


def test_after_a_restart_what_was_open_before_is_not_counted_again() -> None:
    first, second, third = periods(3)
    before = window()
    before.add(first)
    resumed = window(before.watermark_ms)
    resumed.add(second + third + tcp(dur=17_000))
    assert counts(resumed) == [(ALLOWED, 0)]


def test_after_a_restart_what_began_later_is_counted() -> None:
    before = window()
    before.add(http(t=str(T0)))
    resumed = window(before.watermark_ms)
    resumed.add(periods(1)[0] + http(t=str(T0 - 1_000), dur=3_000) + tcp(t=str(T0 + 10), id=5, dur=9_000))
    assert sorted(counts(resumed)) == [(ALLOWED, 1), (ALLOWED, 2)]


def test_open_connections_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "MAX_OPEN", 2)
    counted = window()
    for number in (1, 2, 3):
        counted.add(periods(1, id=number)[0])
    counted.add(periods(2, id=3)[1] + periods(2, id=2)[1])
    assert counts(counted) == [(ALLOWED, 3)]


def test_a_line_of_another_workload_is_lost_and_not_reported() -> None:
    """The control plane refuses a batch that speaks for somebody else, whole."""
    counted = window()
    counted.add(http(svc="shop/other") + http(svc="") + http(svc=None))
    assert take(counted) == ([], 3)


@pytest.mark.parametrize("time", ["0", "-5", "253402300800000", "99999999999999999999"])
def test_a_line_without_a_real_time_is_lost(time: str) -> None:
    counted = window()
    counted.add(http(t=time))
    assert take(counted) == ([], 1)


def test_a_line_without_a_duration_is_counted() -> None:
    counted = window()
    counted.add(http(dur=None) + http(dur=None, id=2))
    assert counts(counted) == [(ALLOWED, 2)]


texts = st.one_of(st.none(), st.text(max_size=50), st.text(min_size=1, max_size=3).map(lambda text: text * 500))
names = st.sampled_from([None, DENY, f"would-{DENY}", "8080/mtls/http", "6379/mtls/tcp", "app|1", "mesh|a/b|1", DENIED_BY_LIST])
lines = st.fixed_dictionaries(
    {
        "k": st.sampled_from(["http", "tcp", "conn"]),
        "dir": st.sampled_from(["in", "in", "out", "?"]),
        "t": st.integers(1, 2**44).map(str) | st.integers(-(2**64), 2**64).map(str),
        "dur": st.integers(0, 20_000) | st.none() | st.integers(-(2**63), 2**63 - 1),
        "local": st.sampled_from(["10.0.0.1:80", "[::1]:443", "x", ":0", "a:99999"]) | st.text(max_size=20),
        "remote": texts.filter(lambda text: text is not None),
        "svc": st.sampled_from(["shop/cart", "shop/cart", "shop/other", "", None]),
        "port": st.sampled_from([None, 80, 0, -5, 70_000]),
        "type": st.sampled_from(["TcpPeriodic", "DownstreamPeriodic", "DownstreamEnd", "TcpConnectionEnd"]),
        "chain": names, "cluster": names, "route": names, "detail": names, "term": names, "shadow": names, "fail": texts,
        "shadow_result": st.sampled_from([None, "denied", "allowed"]),
        "peer": texts, "sni": texts, "method": texts, "path": texts, "host": texts, "ctype": texts,
    }
)  # fmt: skip


def test_a_clock_that_was_set_back_makes_nothing_new_again() -> None:
    """What is open is counted once, a violation that goes on is news once, and no time is told that is still to come."""
    now = T0 + 86_400_000
    counted = window(clock_ms=lambda: now)
    counted.add(http(t=str(now - 2)))
    assert counts(counted) == [(ALLOWED, 1)]
    told: list[tuple[int, int]] = []
    news: list[bool] = []
    for n in range(1, 5):
        now = T0 + 5_000 * n + 10
        counted.add(tcp(type="TcpPeriodic", t=str(T0), dur=5_000 * n + 2) + http(detail=DENIED_BY_LIST, t=str(now - 2), id=n))
        news.append(has_news(counted))
        told += [(seen.verdict, seen.count) for seen in take(counted)[0] if seen.count]
    assert sorted(told) == [(ALLOWED, 1), *[(DENIED, 1)] * 4]
    assert news == [True, False, False, False]
    counted.add(tcp(t=str(now + 86_400_000 - 5), dur=10, id=9))
    ((seen,), _) = take(counted)
    assert (seen.first_seen_ms, seen.last_seen_ms) == (now, now)


def test_a_restart_after_the_clock_was_set_back_counts_what_is_open() -> None:
    """The time that was kept is ahead: what began since was not counted before."""
    now = T0 + 60_000
    counted = window(T0 + 86_400_000, lambda: now)
    now = T0 + 70_000
    counted.add(tcp(type="TcpPeriodic", t=str(T0 + 62_000), dur=5_000, id=7))
    assert counts(counted) == [(ALLOWED, 1)]


@given(st.lists(lines, max_size=20))
@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_the_log_the_control_plane_takes_the_report(written: list[dict[str, object]]) -> None:
    counted = window()
    counted.add(b"".join(json.dumps(line).encode() + b"\n" for line in written))
    observations, lost = take(counted)
    assert sum(seen.count for seen in observations) + lost <= len(written)


@given(st.binary(max_size=500))
def test_any_bytes_are_survived(chunk: bytes) -> None:
    counted = window()
    counted.add(chunk)
    take(counted)
