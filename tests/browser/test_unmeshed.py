"""Pods without a sidecar in a real browser: told where a platform team looks, to everybody, and marked on the map."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from controlplane.topology.unmeshed import Gaps, Unmeshed
from tests.browser.browsers import CHROMIUM, Reader
from tests.browser.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
CART, REDIS = "default/cartservice", "default/redis-cart"
WHY = (
    "it was made before injection was on, or while the webhook was away; kubectl rollout restart -n default deployment/cartservice"
)


def test_pods_without_a_sidecar_are_found_from_the_overview_and_marked_on_the_map(site: Site, owner: Reader) -> None:
    site.plane.gaps = Gaps(
        (
            *(Unmeshed("default", f"cartservice-{n}", "Deployment/cartservice", WHY, CART) for n in range(3)),
            Unmeshed(
                "default", "redis-cart-0", "StatefulSet/redis-cart", "its label picket.dev/injection: disabled says so", REDIS
            ),
        ),
        ("default/default: one service account for what should be told apart (blog, shop); give each an account of its own",),
    )
    page = owner.page
    found: dict[str, list[str]] = {}

    def looked(name: str) -> None:
        found[name] = owner.obstacles()
        owner.picture(f"unmeshed-{name}")
        page.emulate_media(color_scheme="dark")
        found[f"{name} in the dark"] = owner.obstacles("color-contrast")
        page.emulate_media(color_scheme="light")

    owner.go("/")
    page.get_by_role("link", name="4 pods without one").click()
    expect(page.get_by_role("heading", name="Pods without a sidecar")).to_be_in_viewport()
    looked("overview")
    page.get_by_role("row").filter(has_text=WHY).get_by_role("link", name=CART).click()
    expect(page.get_by_text("3 pods of it have none")).to_be_visible()
    page.get_by_role("link", name="3 pods without a sidecar").click()
    expect(page.get_by_role("cell", name=WHY)).to_be_in_viewport()
    looked("service")
    owner.go("/services")
    looked("services")
    owner.go("/sidecars")
    page.get_by_role("link", name="4 pods without one").click()
    expect(page.get_by_text("give each an account of its own")).to_be_in_viewport()
    looked("sidecars")
    owner.go("/map")
    page.wait_for_selector("#picture[data-drawn]")
    shown = page.evaluate("document.getElementById('picture').cy.$('node.unmeshed').map((node) => node.data('shown'))")
    assert sorted(shown) == ["cartservice\ndefault · audit · ! 3", "redis-cart\ndefault · enforce · ! 1"]
    page.evaluate("document.getElementById('picture').cy.$('node.unmeshed')[0].select()")
    expect(page.locator("#about")).to_contain_text("no sidecar and should")
    looked("map")
    assert {name: obstacles for name, obstacles in found.items() if obstacles} == {}
