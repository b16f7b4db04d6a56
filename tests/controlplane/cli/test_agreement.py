"""Owners, groups and comments on the command line: `picket owners`, `picket comment`, and approving what is mine."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from controlplane.policy.owners import Owners, OwnersError, parse_owners
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import GET_CART, PAY, REDIS, Plane


@pytest.fixture
def learned(plane: Plane, picket: Picket) -> Plane:
    """Three edges; pay belongs to dora, cart to whoever runs this."""
    plane.owners = parse_owners(f"shop/pay dora\nshop/cart {getpass.getuser()}\n")
    plane.learn(GET_CART, PAY, REDIS)
    assert picket("proposals").code == 0
    return plane


def test_rows_that_wait_say_for_whom(learned: Plane, picket: Picket) -> None:
    told = picket("approve", "1").out.splitlines()
    assert told[0].startswith("revision 1 is in force")
    assert told[1] == "row 2 waits: default/frontend -> shop/pay:443 still needs dora, who owns it"
    shown = picket("proposals", "2").out
    assert f"1: agreed to by {getpass.getuser()}; needs dora, who owns it" in shown
    assert picket("approve", "2", "--override-review", "dora left, ticket 9").out.startswith("revision 2 is in force")
    logged = picket("audit").out
    assert "rows 1, override_review dora left, ticket 9, lacked 1: dora, who owns it, revision 2" in logged
    assert "rows 1,3, revision 1" in logged


def test_evidence_says_who_owns_each_end(learned: Plane, picket: Picket) -> None:
    shown = picket("proposals", "1", "--evidence").out
    assert "owned: shop/pay by dora" in shown
    assert f"owned: shop/cart by {getpass.getuser()}" in shown


def test_what_many_rows_lack_is_said_once(plane: Plane, picket: Picket) -> None:
    plane.owners = parse_owners("* dora\nshop/redis emil\n")
    plane.learn(GET_CART, PAY, REDIS)
    told = picket("proposals", "1").out
    assert "1-2: needs dora, who owns it\n3: needs emil, who owns it\n" in told
    told = picket("approve", "1").out
    assert told.startswith("rows 1-2 wait: each still needs dora, who owns it\nrow 3 waits: shop/cart -> shop/redis:6379 still")


def test_a_file_that_cannot_be_read_shows_in_the_review(learned: Plane, picket: Picket) -> None:
    def unreadable() -> Owners:
        raise OwnersError("OWNERS: line 3: no")

    learned.read_owners = unreadable
    assert "1-3: needs an owners file that can be read: OWNERS: line 3: no\n" in picket("proposals", "1").out


def test_a_group_of_odd_rows_alone_is_told_from_no_group(learned: Plane, picket: Picket) -> None:
    learned.learn(*(GET_CART._replace(destination=f"shop/s{number}") for number in range(60)), seen_ms=900)
    number = picket("proposals", "-o", "json").json["proposals"][0]["number"]
    result = picket("approve", str(number), "--service", "shop/s1")
    assert result.code == 2
    assert "1 row like that, each odd or a removal" in result.err


def test_groups_are_chosen_by_service_source_and_owner(learned: Plane, picket: Picket) -> None:
    assert picket("reject", "1", "--service", "shop/redis").out == (
        "1 of 3 rows of proposal 1 are rejected; the others are proposed again\n"
    )
    assert picket("proposals").code == 0
    assert picket("approve", "2", "--source", "nobody/here").code == 2
    assert "it changes frontend, shop/cart" in picket("approve", "2", "--source", "frontend", "--mine").out
    assert learned.store.active_revision() == 1


def test_a_comment_is_shown_at_its_row(learned: Plane, picket: Picket) -> None:
    assert picket("comment", "1", "3", "is this the new cache?").out == "the comment stands at row 3 of proposal 1\n"
    assert "is this the new cache?" in picket("proposals", "1").out
    assert picket("comment", "1", "9", "x").code == 1


def test_the_owners_file_is_shown_and_checked(learned: Plane, picket: Picket, tmp_path: Path) -> None:
    shown = picket("owners", "list").out
    assert "dora" in shown
    assert "without owners: frontend" in shown
    file = tmp_path / "OWNERS"
    file.write_text("@a: ana ben\nshop/* @a\n")
    assert picket("owners", "check", str(file)).out == f"{file}: 1 line about services, 2 owners\n"
    assert picket("owners", "check", str(file), "shop/cart").out == "shop/cart: ana, ben\n"
    assert picket("owners", "check", str(file), "ops/redis").out == "ops/redis: nobody has to agree\n"
    assert picket("owners", "check", str(file), "web").out == "default/web: nobody has to agree\n"
    file.write_text("shop/* @b\n")
    result = picket("owners", "check", str(file))
    assert (result.code, result.out) == (1, "")
    assert result.err == f"picket: {file}: line 1: there is no team @b above this line\n"


def test_without_a_file_it_says_how_to_have_one(plane: Plane, picket: Picket) -> None:
    assert "--owners FILE" in picket("owners", "list").out
