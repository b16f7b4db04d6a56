"""Pods that should have a sidecar and have none, where a platform team looks: overview, sidecars, a service, the map."""

from __future__ import annotations

import json

from flask.testing import FlaskClient

from controlplane.topology.unmeshed import Gaps, Unmeshed
from controlplane.web.overview import MAX_OWNED
from tests.harness.plane import GET_CART, REDIS, Plane

WHY = "it was made before injection was on, or while the webhook was away; kubectl rollout restart -n shop deployment/cart"
PODS = tuple(Unmeshed("shop", f"cart-{number}", "Deployment/cart", WHY, "shop/cart") for number in range(2))
HOST = Unmeshed("shop", "agent-1", "DaemonSet/agent", "it uses the <host>'s network", "shop/agent")


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_no_page_speaks_of_it_where_none_is_missing(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART)
    for path in ("/", "/sidecars", "/services/shop/cart", "/map"):
        assert "without" not in shown(browser, path).partition("<main")[2].replace("says the same without", "")


def test_the_overview_counts_pods_and_says_of_what_and_why(plane: Plane, browser: FlaskClient) -> None:
    plane.gaps = Gaps((*PODS, HOST))
    page = shown(browser, "/")
    assert '<a class="warn" href="#without">3 pods without one</a>' in page
    assert page.count("Deployment/cart") == 1
    for text in (WHY, "DaemonSet/agent", "it uses the &lt;host&gt;", 'href="/services/shop/cart"'):
        assert text in page


def test_the_overview_names_the_first_and_leads_to_all(plane: Plane, browser: FlaskClient) -> None:
    plane.gaps = Gaps(tuple(Unmeshed("shop", f"p{n}", f"Job/j{n:02}", WHY, "shop/cart") for n in range(MAX_OWNED + 1)))
    page = shown(browser, "/")
    assert f'<a href="/sidecars#without">All {MAX_OWNED + 1}</a>' in page
    assert f"Job/j{MAX_OWNED:02}" not in page
    assert f"Job/j{MAX_OWNED:02}" in shown(browser, "/sidecars")


def test_the_page_of_sidecars_tells_them_and_what_cannot_be_told_apart(plane: Plane, browser: FlaskClient) -> None:
    plane.gaps = Gaps((HOST,), ("shop/default: one service account for <two>",))
    page = shown(browser, "/sidecars")
    for text in ("1 pod without a sidecar", "DaemonSet/agent", "shop/default: one service account for &lt;two&gt;"):
        assert text in page


def test_the_page_of_a_service_tells_its_own(plane: Plane, browser: FlaskClient) -> None:
    plane.gaps = Gaps((*PODS, HOST))
    page = shown(browser, "/services/shop/cart")
    assert '<a class="tag warn" href="#sidecars">2 pods without a sidecar</a>' in page
    assert "2 pods of it have none and should" in page
    assert WHY in page
    assert "DaemonSet/agent" not in page
    assert "Deployment/cart" not in shown(browser, "/services/shop/redis")


def test_the_list_of_services_marks_them(plane: Plane, browser: FlaskClient) -> None:
    plane.gaps = Gaps((*PODS, HOST))
    assert '<a class="tag warn" href="/services/shop/cart#sidecars">2 pods without a sidecar</a>' in shown(browser, "/services")
    assert "without a sidecar" not in shown(browser, "/services?text=redis")


def test_the_map_marks_them_also_where_a_namespace_is_closed(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS)
    plane.gaps = Gaps((*PODS, HOST))

    def marked(query: str) -> dict[str, int]:
        nodes = json.loads(browser.get(f"/map/data?{query}").data)["nodes"]
        return {node["id"]: node["unmeshed"] for node in nodes if node["unmeshed"]}

    assert marked("") == {"shop/cart": 2}
    assert marked("open=default") == {"shop/": 3}
    assert "2 pods of what is shown should have a sidecar" in shown(browser, "/map")
    assert "should have a sidecar" not in shown(browser, "/map?focus=outside/api.example.com")
