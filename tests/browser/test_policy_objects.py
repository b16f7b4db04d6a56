"""TrafficPolicy objects that are not what is in force, in a real browser: told where people look, with what to do."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from controlplane.policy.objects import Standing, State
from tests.browser.browsers import CHROMIUM, Reader
from tests.browser.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
CART, FRONTEND, ADS = "default/cartservice", "default/frontend", "default/adservice"
CHANGED = "kubectl-edit changed what Picket had written, and it stays so: delete the object, and it is written again as approved"


def test_a_conflict_is_told_on_the_overview_and_on_the_page_of_the_service(site: Site, owner: Reader) -> None:
    site.plane.objects = (
        Standing(CART, CART, own=True, state=State.CONFLICT, revision=3, reason=CHANGED),
        Standing(FRONTEND, FRONTEND, own=False, state=State.DIFFERS, revision=2, reason="something else is in force"),
        Standing(ADS, ADS, own=True, state=State.IN_FORCE, revision=3, reason=""),
    )
    page = owner.page
    found: dict[str, list[str]] = {}
    owner.go("/")
    expect(page.get_by_text("2 of the cluster's 3 objects are not what is in force")).to_be_visible()
    owner.picture("objects-overview")
    found["overview"] = owner.obstacles()
    page.get_by_role("row").filter(has_text=CHANGED).get_by_role("link", name=CART).click()
    expect(page.get_by_role("cell", name=CHANGED)).to_be_visible()
    owner.picture("objects-service")
    found["service"] = owner.obstacles()
    owner.go(f"/services/{ADS}")
    expect(page.get_by_text("What the cluster has of it")).to_have_count(0)
    assert {name: obstacles for name, obstacles in found.items() if obstacles} == {}
