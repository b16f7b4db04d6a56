"""`picket policy test` on real files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.controlplane.cli.conftest import Picket
from tests.controlplane.cli.papers import CART, TESTS, repository

__all__ = ["repository"]


def test_expectations_that_are_met_say_so_in_one_line(picket: Picket, repository: Path) -> None:
    result = picket("policy", "test", "tests")
    assert (result.code, result.out, result.err) == (0, "", "2 of 2 expectations met\n")
    shown = picket("policy", "test", "--all", "tests").out.splitlines()
    assert [line.split()[0] for line in shown] == ["case", "ok", "ok"]
    assert "policies/cart.yaml:9" in shown[1]


def test_an_expectation_that_is_not_met_is_shown_with_the_reason(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("/shop.Cart/Get", "/shop.Cart/Add"))
    result = picket("policy", "test", "tests", "--junit", "out.xml")
    assert (result.code, result.err) == (1, "1 of 2 expectations met\n")
    assert "default/frontend may only POST /shop.Cart/Add" in " ".join(result.out.split())
    root = ElementTree.fromstring(Path("out.xml").read_text())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


def test_another_policy_and_programs(picket: Picket, repository: Path) -> None:
    Path("other.yaml").write_text(CART.replace("spec:\n", "spec:\n  mode: audit\n").replace("frontend", "other"))
    result = picket("policy", "test", "tests", "--policy", "other.yaml", "-o", "json")
    assert [(found["verdict"], found["met"]) for found in result.json["outcomes"]] == [("would-deny", False)] * 2


def test_files_that_do_not_read_fail(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("[7070]", "[0]"))
    result = picket("policy", "test", "tests", "--junit", "out.xml")
    assert (result.code, "[invalid]" in result.out) == (1, True)
    assert ElementTree.fromstring(Path("out.xml").read_text()).get("errors") == "1"
    Path("tests/cart.yaml").write_text("a: [")
    assert picket("policy", "test", "tests").code == 1


def test_a_test_without_a_policy_fails_and_one_without_files_is_misuse(picket: Picket, repository: Path) -> None:
    Path("tests/cart.yaml").write_text(TESTS.replace("policy: [../policies]\n", ""))
    result = picket("policy", "test", "tests")
    assert (result.code, "names no policy" in result.out) == (1, True)
    assert picket("policy", "test", "tests", "--policy", "policies").code == 0
    assert picket("policy", "test", "nowhere").code == 2
