"""A responder's way in a real browser: from an incident to a violation, to quarantine, and away with a file; and the log live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from controlplane.policy.rules import Mode
from controlplane.store.stored import ViolationFilter
from controlplane.topology.model import ServiceName
from controlplane.workflow.incidents import Incidents
from tests.browser.browsers import CHROMIUM, Reader
from tests.browser.conftest import Site
from tests.harness.plane import PAY

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
#: A service that tries what it was never allowed.
_SCAN = PAY._replace(source="default/adservice", destination="default/redis-cart", protocol="tcp", method="")


def test_from_an_incident_to_quarantine_to_a_file(owner: Reader, site: Site, tmp_path: Path) -> None:
    plane, page = site.plane, owner.page
    for number in range(9):
        plane.violate(_SCAN._replace(port=6_379 + number), seen_ms=plane.now_ms - 60_000 + number)
    Incidents(plane.store, plane.publisher, lambda: plane.now_ms).look()
    owner.go("/incidents")
    page.get_by_role("link", name=re.compile("scan")).click()
    expect(page.get_by_text("default/adservice tries 9 places that it was never allowed")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        owner.picture(f"page-incident-{scheme}")
        assert owner.obstacles() == []
    page.get_by_label("Give it to").fill("ana")
    page.get_by_role("button", name="Assign").click()
    expect(page.get_by_text("Given to ana")).to_be_visible()
    page.locator("table a[href^='/blocked/']").first.click()
    page.get_by_label("Why default/adservice").fill("it scans the shop")
    page.get_by_role("button", name="Quarantine default/adservice").click()
    expect(page.get_by_role("button", name="Release default/adservice")).to_be_visible()
    assert plane.publisher.policy.mode(ServiceName("default", "adservice")) is Mode.QUARANTINE
    page.go_back()
    page.get_by_role("link", name="All from this source").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="OCSF events").click()
    download.value.save_as(tmp_path / "events")
    logged = plane.store.violations(ViolationFilter(source="default/adservice"), 100)
    assert len((tmp_path / "events").read_text().splitlines()) == len(logged) > 8


def test_the_log_is_followed_live_without_a_complaint(owner: Reader, site: Site) -> None:
    """A row that comes is text, whatever it holds."""
    owner.go("/blocked?q=to:default/redis-cart")
    owner.page.get_by_role("button", name="Follow live").click()
    expect(owner.page.locator("#followed")).to_have_text(re.compile("Following"))
    site.plane.violate(_SCAN._replace(path="/<img src=x>"), seen_ms=site.plane.now_ms)
    expect(owner.page.locator("tr.new")).to_contain_text("/<img src=x>")
    owner.picture("blocked-live")
    owner.page.get_by_role("button", name="Stop following").click()
    expect(owner.page.get_by_role("button", name="Follow live")).to_be_visible()
