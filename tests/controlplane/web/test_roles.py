"""Who may send which form."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from controlplane.api.app import create_app
from controlplane.api.roles import LEAST
from controlplane.policy.roles import Role
from controlplane.web.app import create_console
from controlplane.web.roles import OWN, SAME_AS, least
from controlplane.web.sessions import Sessions
from tests.controlplane.web.browsing import form_key, sign_in
from tests.harness.plane import Plane

_PLACE = re.compile("<[^>]+>")


def _forms(plane: Plane, sessions: Sessions) -> dict[str, str]:
    """Every endpoint of the console that takes a form, with an address of it."""
    app = create_console(plane.services(), sessions)
    found = [rule for rule in app.url_map.iter_rules() if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}]
    return {rule.endpoint: _PLACE.sub("1", str(rule.rule)) for rule in found}


def test_every_form_has_its_role_from_the_api(plane: Plane, sessions: Sessions) -> None:
    forms = _forms(plane, sessions)
    assert set(forms) == {*SAME_AS, *OWN}
    known = {rule.endpoint for rule in create_app(plane.services()).url_map.iter_rules()}
    assert set(SAME_AS.values()) <= known & set(LEAST)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_a_form_is_refused_to_who_has_less_than_its_role(
    plane: Plane, sessions: Sessions, stranger: FlaskClient, role: Role
) -> None:
    sign_in(stranger, plane.token("ann", role))
    key = form_key(stranger, "/")
    written = len(plane.store.audit(100))
    for endpoint, path in _forms(plane, sessions).items():
        if endpoint not in OWN and not role.may(least(endpoint)):
            assert stranger.post(path, data={"form_key": key}).status_code == 403, endpoint
    assert len(plane.store.audit(100)) == written
