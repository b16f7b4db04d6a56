"""Staged rollouts: how far they are, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from flask.testing import FlaskClient

from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import Mode
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.workflow.rollouts import Rollouts
from tests.controlplane.web.browsing import form_key
from tests.harness.plane import GET_CART, Plane

CART = ServiceName("shop", "cart")


def test_without_a_rollout_the_page_says_how_to_begin(browser: FlaskClient) -> None:
    assert "picket rollout start" in browser.get("/rollouts").get_data(as_text=True)


def test_a_rollout_is_followed_and_taken_back(plane: Plane, browser: FlaskClient) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    plane.sidecar(SidecarRow("shop/cart", "cart-1", connected=True, sent_version="a", acked_version="a"))
    driver = Rollouts(plane.store, plane.publisher, plane.review.modes, lambda: plane.now_ms)
    driver.start([CART], Plan(20, 60, 0), "ann")
    page = browser.get("/rollouts").get_data(as_text=True)
    for text in ("shop/cart", "one sidecar", "1 of 1, 2 in all", "Roll back to learn", "data-follow"):
        assert text in page
    answer = browser.post("/rollouts/1/return", data={"form_key": form_key(browser, "/rollouts")})
    assert answer.headers["Location"] == "/rollouts"
    assert "rolled-back" in browser.get("/rollouts").get_data(as_text=True)
    assert plane.publisher.policy.mode(CART) is Mode.LEARN
    assert browser.post("/rollouts/1/return", data={"form_key": form_key(browser, "/rollouts")}).status_code == 409


def test_the_page_reads_the_sidecars_once_and_not_when_nothing_runs(
    plane: Plane, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mesh has many sidecars, and a page that follows asks again every two seconds."""
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    plane.sidecar(SidecarRow("shop/pay", "pay-0", connected=True, sent_version="a", acked_version="a"))
    driver = Rollouts(plane.store, plane.publisher, plane.review.modes, lambda: plane.now_ms)
    driver.start([CART, ServiceName("shop", "pay")], Plan(20, 60, 0), "ann")
    reads: list[int] = []
    read = plane.store.sidecars

    def counted() -> Sequence[SidecarRow]:
        reads.append(1)
        return read()

    monkeypatch.setattr(plane.store, "sidecars", counted)
    browser.get("/rollouts")
    assert len(reads) == 1
    for number in (1, 2):
        driver.roll_back(number, "ann")
    reads.clear()
    browser.get("/rollouts")
    assert not reads


def test_a_revision_in_stages_is_taken_back_while_it_is_running(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART)
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True))
    assert plane.review.refresh_proposal() is not None
    plane.review.approve(1, "ann", plan=Plan(20, 60, 0))
    page = browser.get("/rollouts").get_data(as_text=True)
    assert "Roll back to revision 0" in page
    staged = browser.get("/revisions/1").get_data(as_text=True)
    assert "It comes into force once all sidecars" in staged
    assert "into force again" not in staged
    browser.post("/rollouts/1/return", data={"form_key": form_key(browser, "/rollouts")})
    page = browser.get("/rollouts").get_data(as_text=True)
    assert "rolled-back" in page
    assert "Roll back to" not in page
