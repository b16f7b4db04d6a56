"""A newcomer's first minutes: `picket demo` prints a link, and what it waits for is approved behind it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsers import CHROMIUM, reader
from tests.controlplane.demo.demos import Demos, apart

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
_LINK = re.compile(r"(http://127\.0\.0\.1:\d+)(/sign-in/once/\S+)")


@pytest.fixture
def demos() -> Iterator[Demos]:
    """Demos whose files are removed with them."""
    with apart() as made:
        yield made


def test_the_demo_is_approved_and_its_blocked_calls_are_looked_at_in_the_console(browser: Browser, demos: Demos) -> None:
    demo = demos.start("--capture", "explicit", "--topology", str(demos.small()))
    demo.wait_for("Waiting for a decision from elsewhere")
    found = _LINK.search(demo.output)
    assert found is not None
    with reader(browser, found[1]) as newcomer:
        newcomer.sign_in_by(found[0])
        page = newcomer.page
        page.get_by_role("link", name="Review them").click()
        page.get_by_role("button", name="See what these rows would do").click()
        page.get_by_role("button", name="Publish 1 row").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Revision 1")
        demo.wait_for("Everything stays up until Ctrl-C")
        assert "approved by owner (via console): revision 1" in demo.output
        newcomer.go("/blocked")
        expect(page.get_by_role("row").nth(1)).to_contain_text("denied")
        newcomer.go("/map")
        page.wait_for_selector("#picture[data-drawn]")
        newcomer.picture("demo-map")
        page.goto(found[0])  # whoever opens the link again is in
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert demo.end(signal.SIGINT) == 0, demo.output
