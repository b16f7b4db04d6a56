"""The identity provider's file: what is wrong in it is told, with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.accounts import Scope
from controlplane.policy.groups import GroupRole, scope_of
from controlplane.policy.roles import Role
from controlplane.settings import SettingsError
from controlplane.web.oidc.document import read_oidc

GOOD = "issuer: https://id.example.org\nclient-id: p\nconsole: https://c.example.org/\ngroups: [{group: a, role: viewer}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "oidc.yaml"


def test_what_is_left_out_has_a_default(file: Path) -> None:
    file.write_text(GOOD)
    found = read_oidc(file)
    assert (found.back, found.name_claim, found.client_secret) == ("https://c.example.org/sign-in/oidc/back", "email", None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "object"),
        ("a: [", "oidc.yaml"),
        (GOOD.replace("https://id", "http://id"), "issuer"),
        (GOOD.replace("https://c", "ftp://c"), "console"),
        (GOOD.replace("viewer", "king"), "king"),
        (GOOD.replace("role: viewer", "role: viewer, namespaces: []"), "a: 1 to"),
        (GOOD + "new: 1\n", "new"),
        (GOOD + "scopes: [email]\n", "openid"),
        (GOOD + "client-secret-file: none\n", "none"),
    ],
)
def test_what_is_wrong_is_told(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=told):
        read_oidc(file)


def test_a_secret_that_others_can_read_is_refused(file: Path) -> None:
    file.write_text(GOOD + "client-secret-file: secret\n")
    (file.parent / "secret").write_text("x")
    for mode in (0o644, 0o640):
        (file.parent / "secret").chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            read_oidc(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_that_kubelet_mounted_is_read_by_way_of_its_group(file: Path) -> None:
    """It is root's there, the control plane is another user, and its pod's group reads it."""
    file.write_text(GOOD + "client-secret-file: secret\n")
    secret = file.parent / "secret"
    secret.write_text("x")
    os.chown(secret, 65532, 65532)  # another user than this one, as root is there
    secret.chmod(0o440)
    assert read_oidc(file).client_secret == "x"
    for mode in (0o460, 0o444):
        secret.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            read_oidc(file)


APPROVER_HERE = GroupRole("here", Scope(Role.APPROVER, ("shop",)))
APPROVER_THERE = GroupRole("there", Scope(Role.APPROVER, ("ops",)))
VIEWER = GroupRole("all", Scope(Role.VIEWER))
ADMIN = GroupRole("admins", Scope(Role.ADMIN))


@pytest.mark.parametrize(
    ("groups", "scope"),
    [
        ({"nobody"}, None),
        ({"all"}, VIEWER.scope),
        ({"all", "here"}, APPROVER_HERE.scope),
        ({"there", "here"}, Scope(Role.APPROVER, ("ops", "shop"))),
        ({"there", "admins"}, ADMIN.scope),
    ],
)
def test_the_highest_role_counts_where_it_holds(groups: set[str], scope: Scope | None) -> None:
    assert scope_of(groups, (VIEWER, APPROVER_HERE, APPROVER_THERE, ADMIN)) == scope


@given(groups=st.sets(st.sampled_from(["all", "here", "there", "admins"])))
def test_more_groups_never_give_less(groups: set[str]) -> None:
    known = (VIEWER, APPROVER_HERE, APPROVER_THERE, ADMIN)
    whole = scope_of(groups, known)
    for group in groups:
        one = scope_of({group}, known)
        assert one is not None
        assert whole is not None
        assert whole.role.may(one.role)
