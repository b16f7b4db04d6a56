"""The developer's path: the map is drawn, searched, followed and taken along, and stays as its reader left it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Position, expect

from controlplane.flows.model import EdgeKey
from tests.browser.browsers import CHROMIUM, Reader
from tests.browser.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
_CY = "document.getElementById('picture').cy"
_PLACES = f"() => Object.fromEntries({_CY}.nodes().map((node) => [node.id(), node.renderedPosition()]))"
_STATES = f"() => {_CY}.edges().map((edge) => edge.data('state'))"


def draw(owner: Reader, path: str) -> None:
    owner.go(path)
    owner.page.wait_for_selector("#picture[data-drawn]")


def places(owner: Reader) -> dict[str, Position]:
    found: dict[str, Position] = owner.page.evaluate(_PLACES)
    return found


def test_the_map_shows_every_state_and_tells_what_is_chosen(owner: Reader) -> None:
    draw(owner, "/map")
    states = owner.page.evaluate(_STATES)
    assert {"approved", "learned", "denied", "would-deny"} <= set(states)
    place = places(owner)["default/paymentservice"]
    owner.page.locator("#picture").click(position=place)
    about = owner.page.locator("#about")
    expect(about.get_by_role("heading")).to_have_text("default/paymentservice")
    assert owner.page.url.endswith("#default%2Fpaymentservice")
    about.get_by_role("link", name="Look around it").click()
    owner.page.wait_for_selector("#picture[data-drawn]")
    assert set(places(owner)) == {"default/paymentservice", "default/checkoutservice", "default/loadgenerator"}


def test_what_is_found_stands_out_and_what_is_hidden_is_gone(owner: Reader) -> None:
    draw(owner, "/map")
    owner.page.get_by_label("Find").fill("state:denied")
    owner.page.get_by_label("Hide").fill("kind:external")
    owner.page.get_by_role("button", name="Look").click()
    owner.page.wait_for_selector("#picture[data-drawn]")
    assert "external/smtp.example.org" not in places(owner)
    assert owner.page.evaluate(f"() => {_CY}.$('edge.hit').length") == 2


def test_the_map_follows_and_moves_nothing_that_is_there(site: Site, owner: Reader) -> None:
    draw(owner, "/map")
    before = places(owner)
    site.plane.now_ms += 10_000
    site.plane.learn(EdgeKey("default/adservice", "external/ads.example.org", 443, "tls", "", ""), seen_ms=site.plane.now_ms)
    expect(owner.page.get_by_text("changed at")).to_be_visible()
    after = places(owner)
    assert set(after) - set(before) == {"external/ads.example.org"}
    assert {name: after[name] for name in before} == before


def test_a_name_that_was_moved_stays_there(owner: Reader) -> None:
    draw(owner, "/map")
    place = places(owner)["default/emailservice"]
    box = owner.page.locator("#picture").bounding_box()
    assert box is not None
    owner.page.mouse.move(box["x"] + place["x"], box["y"] + place["y"])
    owner.page.mouse.down()
    owner.page.mouse.move(box["x"] + place["x"] + 60, box["y"] + place["y"] + 80, steps=4)
    owner.page.mouse.up()
    moved = places(owner)["default/emailservice"]
    assert (round(moved["x"] - place["x"]), round(moved["y"] - place["y"])) == (60, 80)
    draw(owner, "/map")
    again = places(owner)["default/emailservice"]
    assert (round(again["x"]), round(again["y"])) == (round(moved["x"]), round(moved["y"]))


@pytest.mark.parametrize(("how", "name"), [("PNG", "picket-map.png"), ("SVG", "picket-map.svg"), ("Mermaid", "picket-map.mmd")])
def test_the_map_is_taken_along(owner: Reader, how: str, name: str) -> None:
    draw(owner, "/map")
    with owner.page.expect_download() as download:
        owner.page.get_by_text(how, exact=True).click()
    assert download.value.suggested_filename == name
    assert download.value.path().stat().st_size > 500
