"""Requests that try to be read in two ways, on a real Envoy: the application never gets one that was not decided on."""

from __future__ import annotations

import pytest

from controlplane.policy.evaluate import http_matches
from controlplane.policy.rules import HttpMatch, Mode, Rule
from tests.controlplane.xds.inbound_world import AUTO, CART, FRONT, HTTP, InboundWorld, policy
from tests.harness.callers import http1, http2

pytestmark = pytest.mark.asyncio(loop_scope="module")

END = b"\r\n\r\n"
PUBLIC = policy(Rule(FRONT, HTTP, (HttpMatch("GET", "/public/*"), HttpMatch("GET", "/exact"))))
OPEN = policy(mode=Mode.LEARN)


async def reached(inbound: InboundWorld, port: int = HTTP) -> list[tuple[str, str]]:
    """Method and target of what the application got."""
    return [(request.method, request.target) for request in inbound.applications[port].requests]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/../../x", "/x"),
        ("/a/..", "/"),
        ("/a\\b", "/a/b"),
        ("/a/..\\b", "/b"),
        ("/%61dmin", "/admin"),
        ("/%7Euser", "/~user"),
        ("/A", "/A"),
        ("//a//b", "//a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a/..%2fb", "/a/..%2fb"),
        ("/a%252fb", "/a%252fb"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a/%2e%2e;x/b", "/a/..;x/b"),
        ("/a%20b", "/a%20b"),
        ("/a{b}", "/a%7Bb%7D"),
        ("/a?/../b", "/a?/../b"),
        ("http://elsewhere.test/a/../p?q", "/p?q"),
        ("http://elsewhere.test", "/"),
        ("/" + "x" * 9000, "/" + "x" * 9000),
    ],
)
async def test_the_application_gets_the_path_as_the_allow_list_saw_it(inbound: InboundWorld, target: str, path: str) -> None:
    """What `evaluate` calls a path: this is how Envoy writes it."""
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    await inbound.raw(HTTP, http1("GET", target, "h.test"), enough=(END,))
    assert await reached(inbound) == [("GET", path)]
    (line,) = [line for line in await inbound.lines(1) if line["k"] == "http"]
    assert line["path"] == path.partition("?")[0]


@pytest.mark.parametrize(
    "said",
    [
        http1("GET", "/a#b", "h.test"),
        http1("GET", "/a?x#b", "h.test"),
        http1("GET", "/a%00b", "h.test"),
        http1("GET", "*", "h.test"),
        http1("OPTIONS", "*", "h.test"),
        http1("GET", "a/b", "h.test"),
        http1("GET", "/a b", "h.test"),
        http1("GET", "/a\tb", "h.test"),
        http1("GET", "/caf\u00e9", "h.test"),
        http1("GET", "/a\x01", "h.test"),
        http1("G(T", "/", "h.test"),
        http1("CONNECT", "h.test:80", "h.test"),
        http1("GET", "/", "h.test", "upgrade: foo\r\nconnection: upgrade\r\n"),
        http1("GET", "/" + "x" * 70_000, "h.test"),
        http1("GET", "/", "h.test", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        http1("GET", "/", "h.test", "transfer-encoding : chunked\r\n"),
        http1("GET", "/", "h.test", "transfer-encoding: xchunked\r\n"),
        http1("GET", "/", "h.test", "content-length: 5\r\ncontent-length: 6\r\n"),
        http1("GET", "/", "h.test", "content-length: -1\r\n"),
        http1("GET", "/", "h.test", "a\rb: c\r\n"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /\r\n\r\n",
        http2("GET", "a/b", "h.test"),
        http2("GET", "/a#b", "h.test"),
        http2("GET", "/a\r\nx: y", "h.test"),
        http2("GET", "", "h.test"),
        http2("CONNECT", "/", "h.test"),
        http2("GET", "*", "h.test"),
    ],
    ids=lambda said: repr(said[:60] if said[:3] != b"PRI" else said[40:110]),
)
async def test_what_is_no_request_reaches_nobody_even_where_everything_passes(inbound: InboundWorld, said: bytes) -> None:
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    answer = await inbound.raw(HTTP, said, enough=(END, b"\x00\x08\x07\x00"))  # an answer, or GOAWAY
    assert answer.error != "timeout" or said.startswith(b"PRI"), answer
    assert answer.status in {0, 400, 403, 404, 426, 431, 501}
    assert await reached(inbound) == []
    assert inbound.applications[HTTP].http2_requests == 0


@pytest.mark.parametrize(
    "path",
    ["/public/..%2fadmin", "/public/..%5cadmin", "/public/..;/..;/admin", "/public/%2e%2e;/admin", "/public/a%2F", "//public/a",
     "//h.test/public/a", "/public", "/publicx", "/Public/a", "/public/../admin", "/public\\..\\admin", "/exact/", "/exact;x",
     "/exact%3f", "/exac", "/%2fexact", "/exact%00"],
)  # fmt: skip
async def test_a_path_that_leads_elsewhere_satisfies_no_pattern(inbound: InboundWorld, path: str) -> None:
    """Whether Envoy or the application resolves it."""
    await inbound.envoy.publish(PUBLIC)
    inbound.begin()
    answer = await inbound.raw(HTTP, http1("GET", path, "h.test"), enough=(END,))
    assert answer.status in {400, 403}
    assert await reached(inbound) == []


@pytest.mark.parametrize(
    "path",
    ["/public/", "/public/a", "/public//a", "/public/a/../b", "/x/../public/a", "/public/a;v=1", "/%70ublic/a", "/exact",
     "/exact?x", "/exact?/../x", "/public/a?../../x%2f"],
)  # fmt: skip
async def test_a_path_that_leads_there_does(inbound: InboundWorld, path: str) -> None:
    await inbound.envoy.publish(PUBLIC)
    inbound.begin()
    await inbound.raw(HTTP, http1("GET", path, "h.test"), enough=(END,))
    assert len(await reached(inbound)) == 1


async def test_every_request_of_a_connection_is_decided_on(inbound: InboundWorld) -> None:
    """Pipelined, with one body that looks like a request."""
    await inbound.envoy.publish(PUBLIC)
    inbound.begin()
    said = (
        b"GET /exact HTTP/1.1\r\nhost: h.test\r\n\r\n"
        b"GET /exact HTTP/1.1\r\nhost: h.test\r\ncontent-length: 39\r\n\r\nGET /admin HTTP/1.1\r\nhost: h.test\r\n\r\n\r\n"
        b"GET /admin HTTP/1.1\r\nhost: h.test\r\nconnection: close\r\n\r\n"
    )
    answer = await inbound.raw(HTTP, said)
    assert answer.body.count(b"403 Forbidden") == 1
    assert await reached(inbound) == [("GET", "/exact"), ("GET", "/exact")]


@pytest.mark.parametrize(
    "header",
    ["x-original-url: /public/a", "x-rewrite-url: /public/a", "x-envoy-original-path: /public/a", "x-http-method-override: GET",
     "x-forwarded-for: 127.0.0.1", "x-forwarded-client-cert: By=x;URI=spiffe://picket.test/ns/shop/sa/front", ":path: /public/a"],
)  # fmt: skip
async def test_headers_change_nothing(inbound: InboundWorld, header: str) -> None:
    await inbound.envoy.publish(PUBLIC)
    inbound.begin()
    for peer, target in ((FRONT, "/admin"), (CART, "/public/a")):
        await inbound.raw(HTTP, http1("GET", target, "h.test", f"{header}\r\n"), peer, enough=(END,))
    assert await reached(inbound) == []


async def test_the_application_is_told_the_proven_name_of_its_caller_and_no_other(inbound: InboundWorld) -> None:
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    claim = "x-forwarded-client-cert: By=x;URI=spiffe://picket.test/ns/shop/sa/cart\r\n"
    for peer in (FRONT, None):
        await inbound.raw(HTTP, http1("GET", "/", "h.test", claim), peer, enough=(END,))
    named, unnamed = (request.head for request in inbound.applications[HTTP].requests)
    assert b"URI=spiffe://picket.test/ns/shop/sa/front" in named
    assert b"sa/cart" not in named + unnamed
    assert b"x-forwarded-client-cert" not in unnamed


async def test_an_upgrade_to_http2_is_not_passed_on(inbound: InboundWorld) -> None:
    """A tunnel of requests that nobody decides on could be opened with it."""
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    upgrade = "upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    await inbound.raw(HTTP, http1("GET", "/", "h.test", upgrade).replace(b"close", b"upgrade, http2-settings"), enough=(END,))
    (request,) = inbound.applications[HTTP].requests
    assert b"upgrade" not in request.head.lower()
    assert b"http2-settings" not in request.head.lower()


@pytest.mark.parametrize(("peer", "passes"), [(FRONT, True), (CART, False)])
async def test_a_websocket_is_decided_on_as_any_request(inbound: InboundWorld, peer: object, *, passes: bool) -> None:
    await inbound.envoy.publish(policy(Rule(FRONT, HTTP, (HttpMatch("GET", "/chat"),))))
    inbound.begin()
    said = http1("GET", "/chat", "h.test", "upgrade: websocket\r\n").replace(b"close", b"upgrade")
    await inbound.raw(HTTP, said, FRONT if peer == FRONT else CART, enough=(END,))
    assert await reached(inbound) == ([("GET", "/chat")] if passes else [])


@pytest.mark.parametrize(("wanted", "passed_on"), [("SPDY/3.1", True), ("TLS/1.0", False)])
async def test_other_upgrades_are_asked_for_or_left_out(inbound: InboundWorld, wanted: str, *, passed_on: bool) -> None:
    """A server may take no notice of one (RFC 9110, 7.8), so the request itself goes on."""
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    await inbound.raw(HTTP, http1("GET", "/", "h.test", f"upgrade: {wanted}\r\n").replace(b"close", b"upgrade"), enough=(END,))
    (request,) = inbound.applications[HTTP].requests
    assert (b"upgrade: " + wanted.encode() in request.head) == passed_on


async def test_callers_cannot_give_envoy_orders(inbound: InboundWorld) -> None:
    """Its own headers for time limits, retries and other paths are taken off, and it adds none to answers."""
    await inbound.envoy.publish(OPEN)
    inbound.begin()
    orders = "x-envoy-retry-on: 5xx\r\nx-envoy-upstream-rq-timeout-ms: 1\r\nX-Envoy-Original-Path: /b\r\n"
    answer = await inbound.raw(HTTP, http1("GET", "/a", "h.test", orders + "x-other: kept\r\n"), enough=(END,))
    (request,) = inbound.applications[HTTP].requests
    assert b"x-other: kept" in request.head
    assert b"x-envoy" not in (request.head + answer.body).lower()


async def test_a_method_is_compared_letter_by_letter(inbound: InboundWorld) -> None:
    await inbound.envoy.publish(policy(Rule(FRONT, HTTP, (HttpMatch("GET"), HttpMatch("M-SEARCH")))))
    inbound.begin()
    for method in ("get", "Get", "GETX", "POST", "GET", "M-SEARCH", "m-search"):
        await inbound.raw(HTTP, http1(method, "/", "h.test"), enough=(END,))
    assert await reached(inbound) == [("GET", "/"), ("M-SEARCH", "/")]


async def test_requests_of_old_clients_pass_when_they_name_a_host(inbound: InboundWorld) -> None:
    await inbound.envoy.publish(PUBLIC)
    inbound.begin()
    await inbound.raw(HTTP, http1("GET", "/exact", "h.test", version="1.0"))
    await inbound.raw(HTTP, http1("GET", "/admin", "h.test", version="1.0"))
    assert await reached(inbound) == [("GET", "/exact")]


async def test_very_long_patterns_and_many_paths_are_taken(inbound: InboundWorld) -> None:
    """Envoy's own limit for expressions would refuse the whole allow-list."""
    long = "/a{x}" * 200
    paths = [HttpMatch("POST", f"/shop.Cart/Method{number}") for number in range(500)]
    matches = (HttpMatch("GET", long), HttpMatch("GET", long[:-5] + "/*"), *paths)
    await inbound.envoy.publish(policy(Rule(FRONT, AUTO, matches)))
    inbound.begin()
    fits, misses = "/ab" * 200, "/ab" * 198 + "/b/ab"
    assert http_matches(matches[0], "GET", fits)
    for method, path in (("GET", fits), ("GET", misses), ("POST", "/shop.Cart/Method499?x"), ("POST", "/shop.Cart/Method500")):
        await inbound.raw(AUTO, http1(method, path, "h.test"), enough=(END,))
    assert await reached(inbound, AUTO) == [("GET", fits), ("POST", "/shop.Cart/Method499?x")]
