"""`picket policy apply`: files come into force as they are shown, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.api.client import ApiError, Client
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import GET_CART, PAY, Plane

CART_NAME, PAY_NAME = ServiceName("shop", "cart"), ServiceName("shop", "pay")


@pytest.fixture
def folder(plane: Plane, picket: Picket, tmp_path: Path) -> Path:
    """What is approved, as files."""
    plane.learn(GET_CART, PAY)
    assert plane.review.refresh_proposal() is not None
    plane.review.approve(1, "someone", "")
    made = tmp_path / "policies"
    made.mkdir()
    assert picket("policy", "export", "--into", str(made)).code == 0
    return made


def test_what_was_exported_changes_nothing(plane: Plane, picket: Picket, folder: Path) -> None:
    told = picket("policy", "apply", str(folder))
    assert (told.code, told.out.splitlines()[-1]) == (0, "nothing differs from what is in force")
    assert plane.store.active_revision() == 1


def test_a_change_is_shown_and_put_into_force(plane: Plane, picket: Picket, folder: Path) -> None:
    (file,) = [path for path in folder.rglob("*.yaml") if "pay" in path.name]
    text = file.read_text().replace("443", "8443")
    assert "mode: learn" in text
    file.write_text(text.replace("mode: learn", "mode: enforce"))
    dry = picket("policy", "apply", str(folder), "--dry-run").out
    assert "8443" in dry
    assert plane.store.active_revision() == 1
    told = picket("policy", "apply", str(folder), "-m", "from the repository")
    assert told.code == 0, told.err
    assert "8443" in told.out
    assert "revision 2 is in force" in told.out
    assert {rule.port for rule in plane.publisher.policy.of(PAY_NAME).rules} == {8443}
    assert plane.publisher.policy.mode(PAY_NAME) is Mode.ENFORCE
    assert [event.action for event in plane.store.audit(2)] == ["policy:apply", "service:mode"]
    assert plane.store.revision(2).note == "from the repository"  # type: ignore[union-attr]  # it is there
    assert {rule.port for rule in plane.publisher.policy.of(CART_NAME).rules} == {7070}


def test_services_without_a_document_are_left_alone_unless_pruned(plane: Plane, picket: Picket, folder: Path) -> None:
    for path in folder.rglob("*.yaml"):
        if "pay" in path.name:
            path.unlink()
    assert picket("policy", "apply", str(folder), "-o", "json").json == {"detail": "nothing differs from what is in force"}
    assert picket("policy", "apply", str(folder), "--prune", "-o", "json").json["revision"] == 2
    assert plane.publisher.policy.of(PAY_NAME).rules == ()


def test_what_cannot_be_applied_changes_nothing(plane: Plane, picket: Picket, folder: Path) -> None:
    (file,) = [path for path in folder.rglob("*.yaml") if "pay" in path.name]
    good = file.read_text()
    for before, after, word in (("443", "0", "port"), ("name: pay", "name: nobody", "there is no service shop/nobody")):
        file.write_text(good.replace(before, after))
        ended = picket("policy", "apply", str(folder), "-o", "json")
        assert (ended.code, word in ended.err) == (1, True), ended.err
    assert plane.store.active_revision() == 1


def test_who_was_faster_is_not_undone(plane: Plane, folder: Path) -> None:
    """Files that were compared with another revision are refused."""
    with plane.listening(plane.socket + "2") as address:
        body = {"files": [{"name": "x", "text": next(folder.rglob("*cart*.yaml")).read_text()}], "expected": 0}
        with pytest.raises(ApiError, match="revision 1 is in force by now, not 0"):
            Client(address).post("/api/v1/policy/apply", body)
