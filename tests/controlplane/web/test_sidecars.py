"""The sidecars' page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from controlplane.store.stored import SidecarRow
from controlplane.web.sidecars import PAGE
from tests.harness.plane import GET_CART, Plane

FINE = SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a", revision=3, envoy_version="1.40.0")


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_without_a_sidecar_the_page_says_how_to_let_one_in(browser: FlaskClient) -> None:
    assert "picket token WORKLOAD" in shown(browser, "/sidecars")


def test_each_state_is_told_with_what_is_wrong(plane: Plane, browser: FlaskClient) -> None:
    plane.sidecar(FINE)
    plane.sidecar(replace(FINE, instance="cart-1", nack_type="CDS", nack_message="no such <cluster>"))
    plane.sidecar(replace(FINE, instance="cart-2", acked_version="b"))
    plane.sidecar(replace(FINE, workload="shop/pay", instance="pay-0", connected=False))
    plane.learn(GET_CART)
    plane._sequence += 1  # a report that never came
    plane.learn(GET_CART)
    page = shown(browser, "/sidecars")
    for text in ("1 up to date", "1 refused a part", "1 behind", "1 away", "1 blind"):
        assert text in page
    for text in ("no such &lt;cluster&gt;", "reports are missing since", "1.40.0"):
        assert text in page
    assert "cart-0" not in shown(browser, "/sidecars?state=nack")
    assert "pay-0" not in shown(browser, "/sidecars?state=blind")
    assert "cart-0" not in shown(browser, "/sidecars?text=shop/pay")
    assert "No sidecar matches" in shown(browser, "/sidecars?text=nobody")
    assert browser.get("/sidecars?state=fine").status_code == 400


def test_very_many_come_page_by_page(plane: Plane, browser: FlaskClient) -> None:
    with plane.store.transaction() as transaction:
        transaction.save_sidecars(replace(FINE, instance=f"cart-{number:04}") for number in range(PAGE + 1))
    first = shown(browser, "/sidecars")
    assert f"cart-{PAGE:04}" not in first
    assert f"cart-{PAGE:04}" in shown(browser, f"/sidecars?after=shop/cart+cart-{PAGE - 1:04}")


@pytest.fixture
def delegated(plane: Plane) -> None:
    """Identities come from elsewhere."""
    plane.delegated = True


@pytest.mark.usefixtures("delegated")
def test_where_the_mesh_has_no_authority_of_its_own_none_is_told_of(plane: Plane, browser: FlaskClient) -> None:
    asked = "picket sidecar --identity workload-api --workload WORKLOAD"
    for path in ("/", "/sidecars", "/map"):
        page = shown(browser, path)
        assert "picket token" not in page
        assert asked in page or path == "/map"
    plane.sidecar(FINE)
    page = shown(browser, "/sidecars")
    assert "cart-0" in page
    assert "authority" not in page


def test_a_rotation_of_the_authority_is_told_while_it_is_under_way(plane: Plane, browser: FlaskClient) -> None:
    assert "being rotated" not in shown(browser, "/sidecars")
    plane.sidecar(replace(FINE, bundle="of before"))
    assert "being rotated" not in shown(browser, "/")
    plane.begin_rotation()
    assert "being rotated" in shown(browser, "/")
    page = shown(browser, "/sidecars")
    for text in ("is being rotated", "Next: activate", "connected sidecars that lack the new root: 1 of 1", "picket ca show"):
        assert text in page
