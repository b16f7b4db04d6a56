"""The developer's path: why was my call blocked, and how does the edge get into review?"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from controlplane.policy.roles import Role
from tests.browser.browsers import CHROMIUM, reader
from tests.browser.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]


def test_a_developer_finds_why_a_call_was_blocked_and_gets_the_edge_proposed(browser: Browser, site: Site) -> None:
    with reader(browser, site.address) as developer:
        developer.sign_in_with(site.plane.token("dev", Role.DEVELOPER))
        page = developer.page
        page.get_by_role("link", name="Blocked connections").first.click()
        page.get_by_label("Query").fill("from:loadgenerator verdict:denied")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("row").filter(has_text="default/paymentservice").get_by_role("link").click()
        expect(page.get_by_text("deny:default/paymentservice@r1")).to_be_visible()
        page.get_by_role("link", name="default/paymentservice", exact=True).click()
        page.get_by_label("From").fill("default/loadgenerator")
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("status")).to_contain_text("port 50051 is for default/checkoutservice")
        page.get_by_role("link", name="2026-11-25 11:00:00 UTC").click()
        page.get_by_label("Reason").first.fill("load tests pay, too")
        page.get_by_role("button", name="Propose the edge").click()
        expect(page.get_by_text("dev asked for this edge")).to_be_visible()
        page.get_by_role("link", name="review", exact=True).click()
        page.get_by_role("link", name="Review proposal").click()
        expect(page.get_by_text("by dev: load tests pay, too")).to_be_visible()
        developer.picture("developer-asked")
    assert [ask.actor for ask in site.plane.store.asks(10)] == ["dev"]
