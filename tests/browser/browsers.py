"""A real browser before the console: signs in, looks for what keeps people out, takes pictures, misses no complaint of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"
#: Where pictures of the pages go: artefacts of the run.
PICTURES = Path(__file__).parent.parent.parent / "build" / "pictures"
#: What people cannot get past; less is told by the browser's own tools.
_SERIOUS = {"serious", "critical"}
#: preload would ask for style sheets by script, which the pages' policy forbids.
_LOOK = "(rules) => axe.run({resultTypes: ['violations'], preload: false, ...(rules.length && {runOnly: rules})})"
#: How long something that is going to happen may take on a busy machine.
PATIENCE_MS = 20_000
_SIZE: ViewportSize = {"width": 1360, "height": 850}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    with sync_playwright() as playwright:
        # Its sandbox needs a user that is not root; the pages are our own.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Reader:
    """Somebody with a browser, and what the pages complained about: scripts that failed, and what their policy forbade."""

    context: BrowserContext
    page: Page
    site: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(f"{self.site}{path}")

    def sign_in_by(self, link: str) -> None:
        """Use a one-time link."""
        self.page.goto(link)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def sign_in_with(self, token: str) -> None:
        """Use a token."""
        self.go("/sign-in")
        self.page.get_by_label("API token").fill(token)
        self.page.get_by_role("button", name="Sign in with the token").click()

    def obstacles(self, *rules: str) -> list[str]:
        """What keeps people out of the page, in words; by all rules, or by some."""
        self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = self.page.evaluate(_LOOK, rules)
        return [
            f"{violation['id']}: {node['html'][:120]}: {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in _SERIOUS
            for node in violation["nodes"]
        ]

    def picture(self, name: str) -> None:
        """Keep a picture of the page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=name.startswith("page-"))


@contextmanager
def reader(browser: Browser, site: str) -> Iterator[Reader]:
    """A reader with a browser of their own, who ends without a complaint."""
    context = browser.new_context(viewport=_SIZE, color_scheme="light", accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    made = Reader(context, page, site)

    def heard(message: ConsoleMessage) -> None:
        where = message.location["url"]
        if message.type == "error" and (not where or where.startswith(site)):  # another site's pages are its own
            made.complaints.append(f"{message.text} ({where})")

    page.on("console", heard)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    try:
        yield made
    finally:
        context.close()
    assert made.complaints == [], made.complaints
