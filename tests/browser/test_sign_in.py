"""Coming in and settings, in a real browser: by password, by an identity provider of another site, and what an admin does there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from playwright.sync_api import Browser, expect

from controlplane.api.listen import ApiServer
from controlplane.policy.accounts import Scope
from controlplane.policy.roles import Role
from controlplane.settings import parse_listen
from controlplane.web.app import create_console, together
from controlplane.web.oidc.document import read_oidc
from controlplane.web.sessions import Sessions
from tests.browser.browsers import CHROMIUM, Reader, reader
from tests.browser.conftest import Site
from tests.controlplane.web.oidc.idp import SECRET, running
from tests.harness.plane import plane

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
DOCUMENT = """
issuer: ISSUER
client-id: picket
client-secret-file: secret
console: CONSOLE
groups: [{group: shop-developers, role: approver, namespaces: [shop]}]
"""


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[Reader]:
    """Somebody who is not signed in."""
    with reader(browser, site.address) as made:
        yield made


def test_a_person_comes_in_by_name_and_password_and_changes_it(site: Site, visitor: Reader) -> None:
    site.plane.accounts.create("ann", Scope(Role.VIEWER), "correct horse battery", "owner")
    page = visitor.page
    visitor.go("/sign-in")
    visitor.picture("page-sign-in")
    assert visitor.obstacles() == []
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password", exact=True).fill("correct horse battery")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Password of now").fill("correct horse battery")
    page.get_by_label("New password").fill("another long password")
    page.get_by_role("button", name="Change your password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_an_admin_makes_a_user_and_sees_the_token_once(site: Site, owner: Reader) -> None:
    page = owner.page
    owner.go("/settings")
    page.get_by_label("Name", exact=True).fill("ci")
    page.get_by_label("Role").select_option("viewer")
    page.get_by_role("button", name="Make the user").click()
    expect(page.get_by_text("shown this once")).to_be_visible()
    secret = page.locator(".notice code").inner_text()
    assert site.plane.accounts.caller(secret) is not None
    assert owner.obstacles() == []
    page.get_by_role("link", name="ci", exact=True).click()
    owner.picture("page-user")
    assert owner.obstacles() == []
    page.get_by_role("button", name="Revoke token 1").click()
    expect(page.get_by_text("revoked 20")).to_be_visible()
    assert site.plane.accounts.caller(secret) is None
    owner.go("/settings")
    owner.picture("page-settings")
    assert owner.obstacles() == []


def test_the_api_is_tried_from_its_page(owner: Reader) -> None:
    page = owner.page
    owner.go("/reference")
    assert owner.obstacles() == []
    page.get_by_role("link", name="/api/v1/violations", exact=True).click()
    page.get_by_label("limit").fill("1")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", name="Answer: 200 OK")).to_be_visible()
    owner.picture("page-operation")
    assert owner.obstacles() == []


def test_a_person_comes_in_by_a_provider_of_another_site_and_leaves_it_too(browser: Browser, tmp_path: Path) -> None:
    """Strict cookies do not come along from there: the page that leads on has to bring them back."""
    with running() as idp, plane() as made:
        made.now_ms = int(time.time() * 1000)
        listen = parse_listen("127.0.0.1:0", "test")
        sessions = Sessions(made.store, lambda: made.now_ms)
        idp.metadata = {"end_session_endpoint": f"{idp.issuer}/keys"}
        (tmp_path / "secret").write_text(SECRET)
        (tmp_path / "secret").chmod(0o600)
        served: list[WSGIApplication] = []

        def later(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            return served[0](environ, start)

        server = ApiServer(later, listen)
        try:
            site = server.address.replace("127.0.0.1", "localhost")
            (tmp_path / "oidc.yaml").write_text(DOCUMENT.replace("ISSUER", idp.issuer).replace("CONSOLE", site))
            console = create_console(made.services(), sessions, read_oidc(tmp_path / "oidc.yaml"))
            served.append(together(made.app(), console))
            with reader(browser, site) as person:
                person.go("/sign-in")
                person.page.get_by_role("link", name="Sign in with your organisation").click()
                expect(person.page.get_by_role("heading", level=1)).to_have_text("Overview")
                person.go("/settings")
                expect(person.page.get_by_text("ann@example.org: approver in shop")).to_be_visible()
                person.page.get_by_role("button", name="Sign out").click()
                person.page.wait_for_url(f"{idp.issuer}/**")
                person.go("/")
                expect(person.page.get_by_role("heading", level=1)).to_have_text("Sign in")
        finally:
            server.close()
