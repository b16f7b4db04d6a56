"""The console and the API of a large mesh: pages at 3,000 services, and the map in a real browser at 300 services and 3,000 edges.

There are 10 services a namespace, and 10 callers a service of the small mesh, 4 of the large one; half of the edges is approved.
First paint is from the navigation until the map is drawn, the median of five: the first of them alone fetches scripts and styles.
Frames are counted while it is dragged. Without a browser those figures are left out.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page

from controlplane.api.listen import ApiServer
from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.settings import parse_listen
from controlplane.web.app import create_console, together
from controlplane.web.sessions import Sessions
from tests.bench.measurement import Measurement, median, percentile
from tests.browser.browsers import CHROMIUM, chromium, reader
from tests.controlplane.web.browsing import sign_in
from tests.harness.boutique import NOW_MS
from tests.harness.plane import TOKEN, Plane, plane

REPEATS = 5
PAGES = ("/", "/map", "/map/data", "/services", "/services/ns7/s70", "/review", "/sidecars", "/audit")
CALLS = ("/api/v1/map?service=ns7/s70", "/api/v1/policy", "/api/v1/proposals?status=open", "/api/v1/readiness?service=ns7/s70")
#: Frames that the browser shows while the map is dragged for a second.
_DRAG_SECONDS = 1.0
_COUNT = """() => {
  window.shown = 0;
  const next = () => { window.shown += 1; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


def run() -> list[Measurement]:
    """Measure."""
    with mesh(3_000, 4) as made:
        found = _answers(made)
    if CHROMIUM is not None:
        with mesh(300, 10) as made:
            found += _map(made)
    return found


@contextmanager
def mesh(services: int, degree: int) -> Iterator[Plane]:
    """A control plane that has learned a mesh of so many services with so many callees each."""
    names = [f"ns{number // 10}/s{number}" for number in range(services)]
    lines = ["services:"]
    for number, name in enumerate(names):
        namespace, _, short = name.partition("/")
        address = f"10.{number // 60_000}.{number // 250 % 240}.{number % 250 + 1}"
        lines.append(
            f"- {{name: {short}, namespace: {namespace}, kind: service, addresses: [{address}], endpoints: [{address}], "
            "ports: [{port: 80, protocol: http}]}"
        )
    with plane("\n".join(lines).encode()) as made:
        made.now_ms = NOW_MS
        edges = [
            EdgeKey(names[(number * 7 + step * step * 31 + step) % services], name, 80, "http", "GET", "/items")
            for number, name in enumerate(names)
            for step in range(1, degree + 1)
        ]
        _use(made, names, edges[::2], 1)
        made.review.refresh_proposal()
        made.review.approve(1, "ana", "half of it")
        _use(made, names, edges, 2)
        yield made


def _use(made: Plane, names: list[str], edges: list[EdgeKey], sequence: int) -> None:
    """Have edges used twenty times in the last hour."""
    by_destination: dict[str, list[Flow]] = {}
    for edge in edges:
        flow = Flow(edge, Verdict.ALLOWED, edge.destination, "in", 20, NOW_MS - 3_000_000, NOW_MS - 1_000)
        by_destination.setdefault(edge.destination, []).append(flow)
    with made.store.transaction() as transaction:
        for name in names:
            transaction.record_batch(name, "0", "c" * 32, sequence, by_destination.get(name, []), 0, NOW_MS)


def _answers(made: Plane) -> list[Measurement]:
    """Pages and calls without a network, a report of a sidecar before each. Full searches for garbage wait, as they do there."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], 1_000_000_000)
    try:
        return _asked(made)
    finally:
        gc.set_threshold(*thresholds)


def _asked(made: Plane) -> list[Measurement]:
    browser = create_console(made.services(), Sessions(made.store, lambda: made.now_ms)).test_client()
    browser.environ_base |= {"HTTP_HOST": "localhost"}
    sign_in(browser, TOKEN)
    program = made.app().test_client()
    program.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "HTTP_HOST": "localhost"}
    found = []
    for what, client, paths in (("pages", browser, PAGES), ("API calls", program, CALLS)):
        took: dict[str, list[float]] = {}
        for path in paths:
            for number in range(REPEATS + 1):
                made.now_ms += 10_000  # nothing that is kept for a moment is still good
                made.learn(EdgeKey("ns7/s71", "ns7/s70", 80, "http", "GET", "/items"), seen_ms=made.now_ms)
                gc.collect()
                begun = time.perf_counter()
                answer = client.get(path)
                milliseconds = (time.perf_counter() - begun) * 1_000
                if answer.status_code != 200:
                    raise RuntimeError(f"{path}: {answer.status}")
                if number:  # the first compiles templates and statements
                    took.setdefault(path, []).append(milliseconds)
        slowest = max(took, key=lambda path: median(took[path]))
        each = [one for listed in took.values() for one in listed]
        found.append(
            Measurement(
                f"{what} at 3,000 services, p95", percentile(each, 0.95), "ms",
                detail={"p50 ms": median(each), "slowest": slowest, "its p50 ms": median(took[slowest])},
            )
        )  # fmt: skip
    return found


def _map(made: Plane) -> list[Measurement]:
    sessions = Sessions(made.store, lambda: made.now_ms)
    server = ApiServer(together(made.app(), create_console(made.services(), sessions)), parse_listen("127.0.0.1:0", "bench"))
    try:
        with chromium() as browser, reader(browser, server.address) as owner:
            owner.sign_in_by(f"{server.address}/sign-in/once/{sessions.new_link()}")
            paints, rates = [], []
            for _ in range(5):
                owner.page.evaluate("localStorage.clear()")
                begun = time.perf_counter()
                owner.go("/map?open=*")
                owner.page.wait_for_selector("#picture[data-drawn=yes]")
                paints.append(time.perf_counter() - begun)
                rates.append(_frames_a_second(owner.page))
    finally:
        server.close()
    return [
        Measurement("the map of 300 services and 3,000 edges, first paint", statistics.median(paints), "s", 2),
        Measurement("frames while it is dragged", statistics.median(rates), "frames/s", 30, at_least=True),
    ]


def _frames_a_second(page: Page) -> float:
    box = page.locator("#picture").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 20
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(_COUNT)
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < _DRAG_SECONDS:
        page.mouse.move(x + 200 * passed, y + 100 * passed)
    frames = page.evaluate("window.shown")
    page.mouse.up()
    return float(frames) / passed
