"""Leases and wishes on the command line: `picket leases`, `picket ask` and `picket check --propose`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controlplane.cli.conftest import Picket
from tests.controlplane.cli.papers import repository
from tests.harness.plane import GET_CART, PAY, Plane

__all__ = ["repository"]


@pytest.fixture
def approved(plane: Plane, picket: Picket) -> Plane:
    """One edge is approved with a lease."""
    plane.learn(GET_CART)
    assert picket("proposals").code == 0
    lease = ("--owner", "team-cart", "--reason", "the basket", "--ticket", "OPS-7", "--expires", "90d")
    assert picket("approve", "1", *lease).code == 0
    return plane


def test_leases_are_listed_and_renewed(approved: Plane, picket: Picket) -> None:
    (held,) = picket("leases", "list", "-o", "json").json["leases"]
    assert (held["source"], held["destination"], held["port"]) == ("default/frontend", "shop/cart", 7070)
    assert (held["owner"], held["reason"], held["ticket"]) == ("team-cart", "the basket", "OPS-7")
    shown = picket("leases", "list").out
    assert "team-cart" in shown
    assert picket("leases", "list", "--service", "shop/redis", "--unused", "1").out == "no approved edge is like that\n"
    told = picket("leases", "renew", "frontend", "cart:7070", "--owner", "team-shop", "-m", "still needed").out
    assert told == "the lease of default/frontend -> shop/cart:7070 is renewed\n"
    (held,) = picket("leases", "list", "-o", "json").json["leases"]
    assert (held["owner"], held["expires_ms"]) == ("team-shop", None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("renew", "frontend", "cart", "-m", "x"), 2), (("renew", "frontend", "cart:7070"), 2),
        (("renew", "frontend", "pay:443", "-m", "x"), 1),
        (("renew", "frontend", "cart:7070", "-m", "x", "--expires", "soon"), 2), (("list", "--unused", "-1"), 2),
        (("list", "--service", "nobody"), 1), (("renew", "nobody at all", "cart:7070", "-m", "x"), 1),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(approved: Plane, picket: Picket, arguments: tuple[str, ...], code: int) -> None:
    result = picket("leases", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)


def test_files_hold_the_leases_and_bring_them_back(approved: Plane, picket: Picket, tmp_path: Path) -> None:
    assert picket("policy", "export", "--into", str(tmp_path / "policies")).code == 0
    (file,) = [path for path in (tmp_path / "policies").rglob("*.yaml") if "team-cart" in path.read_text()]
    assert picket("policy", "apply", str(file)).out.splitlines()[-1] == "nothing differs from what is in force"
    file.write_text(file.read_text().replace("team-cart", "team-shop"))
    revision = approved.store.active_revision()
    assert picket("policy", "apply", str(file)).code == 0
    (held,) = picket("leases", "list", "-o", "json").json["leases"]
    assert (held["owner"], held["ticket"], held["expires_ms"] is not None) == ("team-shop", "OPS-7", True)
    assert approved.store.active_revision() == revision
    assert approved.store.audit(1)[0].action == "lease:apply"


def test_an_edge_that_is_asked_for_awaits_review(plane: Plane, picket: Picket) -> None:
    wanted = ("ask", "frontend", "pay:443", "-m", "to be paid", "--link", "https://git.test/1", "--method", "POST")
    assert picket(*wanted).out == "frontend -> shop/pay:443 is asked for; it awaits review\n"
    assert picket(*wanted).out.startswith("frontend -> shop/pay:443 is asked for already, by ")
    assert picket("proposals").code == 0
    shown = picket("proposals", "1").out
    assert "to be paid" in shown
    (row,) = picket("proposals", "1", "-o", "json").json["edges"]
    assert (row["asked"]["reason"], row["asked"]["link"], row["count"]) == ("to be paid", "https://git.test/1", 0)
    assert picket("approve", "1", "--rows", "1").code == 0
    assert picket(*wanted).out == "it is approved already\n"


def test_rejected_is_asked_for_only_again(plane: Plane, picket: Picket) -> None:
    wanted = ("ask", "frontend", "pay:443", "-m", "to be paid")
    assert picket(*wanted).code == 0
    assert picket("proposals").code == 0
    assert picket("reject", "1", "-m", "not that").code == 0
    refused = picket(*wanted)
    assert (refused.code, "not that" in refused.err, "again" in refused.err) == (1, True, True)
    assert picket(*wanted, "--again").code == 0
    assert picket("proposals").code == 0
    shown = picket("proposals", "2").out
    assert "pay:443" in shown
    assert ", anything" not in shown


def test_a_gate_asks_for_what_is_missing(plane: Plane, picket: Picket, repository: Path) -> None:
    plane.learn(PAY)
    assert picket("check").code == 1
    assert picket("proposals", "-o", "json").json["proposals"][0]["edge_count"] == 1
    assert picket("check", "--propose", "--link", "https://git.test/2").code == 1
    assert picket("proposals").code == 0
    newest = picket("proposals", "-o", "json").json["proposals"][0]
    rows = picket("proposals", str(newest["number"]), "-o", "json").json["edges"]
    assert "https://git.test/2" in {row["asked"]["link"] for row in rows if row["asked"]}
