"""The API's page: each operation with a form, which calls it as whoever is signed in."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.api.operations import OPERATIONS
from controlplane.policy.roles import Role
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import PAY, Plane


def test_every_operation_has_a_page(browser: FlaskClient) -> None:
    listed = browser.get("/reference").get_data(as_text=True)
    for endpoint in OPERATIONS:
        path = f"/reference/{endpoint.replace('.', '_').replace('-', '_')}"
        assert f'href="{path}"' in listed
        assert browser.get(path).status_code == 200
    assert browser.get("/reference/nothing").status_code == 404


def test_a_read_is_made_and_shown(plane: Plane, browser: FlaskClient) -> None:
    plane.violate(PAY._replace(path="/<script>"))
    form = {"form_key": form_key(browser, "/reference"), "query.port": "443"}
    page = browser.post("/reference/violations_several", data=form).get_data(as_text=True)
    assert "Answer: 200 OK" in page
    assert "deny:shop/pay@r1" in page
    assert "<script" not in page


def test_a_write_is_made_by_the_reader_and_written_down(plane: Plane, browser: FlaskClient) -> None:
    form = {"form_key": form_key(browser, "/reference"), "body": '{"mode": "audit", "services": ["cart"]}'}
    assert "Answer: 200 OK" in browser.post("/reference/modes_change", data=form).get_data(as_text=True)
    assert plane.store.audit(1)[0].actor == "owner (via console)"


def test_the_readers_role_decides_and_not_the_form(plane: Plane, stranger: FlaskClient) -> None:
    sign_in(stranger, plane.token("ann", Role.VIEWER))
    form = {"form_key": form_key(stranger, "/reference"), "body": '{"mode": "audit", "services": ["cart"]}'}
    assert "Answer: 403 Forbidden" in stranger.post("/reference/modes_change", data=form).get_data(as_text=True)


def test_a_path_cannot_lead_elsewhere(browser: FlaskClient) -> None:
    form = {"form_key": form_key(browser, "/reference"), "path.number": "../../users?x=/"}
    assert "Answer: 404" in browser.post("/reference/proposals_one", data=form).get_data(as_text=True)
