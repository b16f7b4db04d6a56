"""The platform team's path: from the overview to a published revision, and back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from controlplane.policy.roles import Role
from tests.browser.browsers import CHROMIUM, Reader, reader
from tests.browser.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]


def test_a_graph_is_approved_row_by_row_and_rolled_back(site: Site, owner: Reader) -> None:
    page = owner.page
    page.get_by_role("link", name="Review them").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Proposal 2")
    page.get_by_text("Evidence").first.click()
    expect(page.get_by_text("First seen").first).to_be_visible()
    owner.picture("review-light")
    page.emulate_media(color_scheme="dark")
    owner.picture("review-dark")
    page.emulate_media(color_scheme="light")
    page.get_by_label("default/emailservice → external/smtp.example.org:587").uncheck()
    page.get_by_role("button", name="See what these rows would do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What 3 of 4 rows would do")
    expect(page.get_by_role("heading", name="Who comes within reach of whom")).to_be_visible()
    shared = page.url
    page.get_by_role("link", name="Change the choice").click()
    expect(page.get_by_label("default/emailservice → external/smtp.example.org:587")).not_to_be_checked()
    assert site.plane.publisher.policy.revision == 1
    page.goto(shared)
    page.get_by_label("Comment").fill("all of these are known")
    page.get_by_label("Owner").fill("platform")
    page.get_by_role("button", name="Publish 3 rows").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Revision 2")
    expect(page.get_by_text("12 of 13")).to_be_visible()
    assert site.plane.publisher.policy.revision == 2
    owner.picture("review-published")
    page.get_by_role("button", name="Roll back to revision 1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Revision 3")
    assert site.plane.publisher.policy.revision == 3


def test_a_comment_stands_at_its_row(owner: Reader) -> None:
    page = owner.page
    owner.go("/review/2")
    page.get_by_role("link", name="Comment on default/emailservice").click()
    page.get_by_label("Comment").fill("who sends mail from here?")
    page.get_by_role("button", name="Comment").click()
    expect(page.get_by_text("who sends mail from here?")).to_be_visible()
    owner.go("/review/2")
    expect(page.get_by_role("link", name="1 comment on default/emailservice")).to_be_visible()


def test_a_viewer_reads_everything_and_can_send_nothing(browser: Browser, site: Site) -> None:
    token = site.plane.token("vic", Role.VIEWER)
    with reader(browser, site.address) as viewer:
        viewer.sign_in_with(token)
        for path in ("/review/2/check?rows=1", "/review/2/rows/1", "/revisions/1", "/services/default/frontend", "/rollouts"):
            viewer.go(path)
            expect(viewer.page.locator("form[method=post] button")).to_have_text(["Sign out"])
