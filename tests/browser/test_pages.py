"""Every page in a real browser: nobody is kept out, nothing that its policy forbids is tried, and a picture of it is kept."""

from __future__ import annotations

import hashlib

import pytest

from tests.browser.browsers import AXE, CHROMIUM, Reader

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
#: As published with version 4.14.1.
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
PAGES = {
    "overview": "/",
    "map": "/map",
    "services": "/services",
    "service": "/services/default/paymentservice?from=default/loadgenerator&method=POST&path=/hipstershop.PaymentService/Charge",
    "review": "/review",
    "proposal": "/review/2",
    "check": "/review/2/check?rows=1-2",
    "row": "/review/2/rows/1",
    "revision": "/revisions/1",
    "rollouts": "/rollouts",
    "blocked": "/blocked",
    "violation": "/blocked/1",
    "incidents": "/incidents",
    "sidecars": "/sidecars",
    "audit": "/audit",
    "settings": "/settings",
    "api": "/reference",
    "operation": "/reference/modes_change",
    "problem": "/nothing",
}


def test_what_looks_for_obstacles_is_what_its_makers_published() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_SHA256


def test_no_page_keeps_anybody_out_in_light_or_in_the_dark(owner: Reader) -> None:
    """One test for all: the browser and the mesh are made once."""
    found = {}
    for name, path in PAGES.items():
        owner.page.emulate_media(color_scheme="light")
        owner.go(path)
        if name == "map":
            owner.page.wait_for_selector("#picture[data-drawn]")
        owner.picture(f"page-{name}-light" if name != "map" else "map-light")
        found[name] = owner.obstacles()
        owner.page.emulate_media(color_scheme="dark")
        owner.picture(f"page-{name}-dark" if name != "map" else "map-dark")
        found[name] += owner.obstacles("color-contrast")  # all else is the same as in the light
    # A page that is not there is an error to the browser, and the only one.
    owner.complaints[:] = [text for text in owner.complaints if "404" not in text]
    assert {name: obstacles for name, obstacles in found.items() if obstacles} == {}


def test_every_page_can_be_walked_through_by_the_keyboard(owner: Reader) -> None:
    """The first stop leads past the navigation, and what is reached can be seen to be reached."""
    owner.go("/review/2")
    owner.page.keyboard.press("Tab")
    owner.page.keyboard.press("Enter")
    assert owner.page.url.endswith("#main")
    for _ in range(8):
        owner.page.keyboard.press("Tab")
        shown = owner.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert shown == "solid"


def test_on_a_phone_no_column_is_a_letter_wide(owner: Reader) -> None:
    """Names and requests may break anywhere; their tables scroll instead."""
    owner.page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/services/default/cartservice", "/review/2/check?rows=1-2"):
        owner.go(path)
        found = owner.page.locator("td:has(code.match), td:has(.ends)").evaluate_all(
            "(cells) => cells.map((cell) => cell.clientWidth)"
        )
        assert found
        assert min(found) > 150, path
        assert owner.page.evaluate("document.documentElement.scrollWidth") == 390, path
