"""`picket check`: exit code 0 when all is approved, 1 for findings, 2 when it cannot be said."""

from __future__ import annotations

import json
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.controlplane.cli.conftest import Picket
from tests.controlplane.cli.papers import CART, NEEDS, repository
from tests.harness.plane import GET_CART, Plane

__all__ = ["repository"]


def _map(*, days_ago: float = 1, edge_count: int = 1) -> str:
    edge = {
        "source": "default/frontend", "destination": "shop/cart", "port": 7070, "protocol": "grpc", "count": 9,
        "http": [{"method": "POST", "path": "/shop.Cart/Get"}], "last_seen_ms": int((time.time() - days_ago * 86400) * 1000),
    }  # fmt: skip
    service = {"service": "shop/cart", "kind": "service", "mode": "enforce", "ports": [{"port": 7070, "protocol": "grpc"}]}
    return json.dumps({"services": [service], "edges": [edge], "edge_count": edge_count})


def test_a_repository_whose_needs_are_approved_is_clean(picket: Picket, repository: Path) -> None:
    result = picket("check", "--approved", "policies")
    assert (result.code, result.out, result.err) == (0, "", "no findings\n")


def test_a_need_that_is_not_approved_fails(picket: Picket, repository: Path) -> None:
    Path("picket.yaml").write_text(f"{NEEDS}- {{to: shop/pay, port: 443, reason: to be paid}}\n")
    result = picket("check", "--approved", "policies", "--sarif", "out.sarif", "--junit", "out.xml")
    assert result.code == 1
    assert result.out.startswith("picket.yaml:9:3: error: needs[1]: default/frontend -> shop/pay:443 is not approved; ")
    assert json.loads(Path("out.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "need-not-approved"
    assert ElementTree.fromstring(Path("out.xml").read_text()).get("failures") == "1"
    missing = picket("check", "--approved", "policies", "-o", "json", "--fail-on", "never")
    assert missing.code == 0
    assert missing.json["missing"] == [
        {
            "source": "default/frontend", "destination": "shop/pay", "port": 443, "protocol": "", "http": [],
            "reason": "to be paid",
        }
    ]  # fmt: skip


def test_the_control_plane_is_asked_when_no_file_is_named(picket: Picket, plane: Plane, repository: Path) -> None:
    assert picket("check").code == 1
    plane.learn(GET_CART)
    proposal = plane.review.refresh_proposal()
    assert proposal is not None
    plane.review.approve(proposal.number, "someone", "")
    result = picket("check")
    assert (result.code, result.err) == (0, "no findings\n")


def test_answers_that_were_saved_do_as_well(picket: Picket, plane: Plane, repository: Path) -> None:
    plane.learn(GET_CART)
    proposal = plane.review.refresh_proposal()
    assert proposal is not None
    plane.review.approve(proposal.number, "someone", "")
    Path("approved.json").write_text(picket("policy", "show", "-o", "json").out)
    Path("usage.json").write_text(picket("map", "-o", "json").out)
    assert picket("check", "--approved", "approved.json", "--usage", "usage.json").code == 0


@pytest.mark.parametrize(("days_ago", "code"), [(1, 1), (6, 1), (8, 0)])
def test_a_change_that_removes_an_edge_fails_while_the_edge_is_used(
    picket: Picket, repository: Path, days_ago: float, code: int
) -> None:
    Path("usage.json").write_text(_map(days_ago=days_ago))
    Path("change").mkdir()
    Path("change/cart.yaml").write_text(CART.replace("Cart/Get", "Cart/Add"))
    result = picket("check", "--approved", "policies", "--change", "change", "--usage", "usage.json", "--used-within", "7")
    assert result.code == code
    said = "change/cart.yaml:2:1: error: default/frontend -> shop/cart:7070 POST /shop.Cart/Get was used"
    assert result.out.startswith(said) == bool(code)


def test_pruning_counts_as_a_change(picket: Picket, repository: Path) -> None:
    Path("usage.json").write_text(_map())
    Path("change").mkdir()
    Path("change/pay.yaml").write_text(CART.replace("name: cart", "name: pay"))
    arguments = ["check", "--approved", "policies", "--change", "change", "--usage", "usage.json"]
    assert picket(*arguments).code == 0
    assert picket(*arguments, "--prune").code == 1


def test_files_that_do_not_read_are_findings(picket: Picket, repository: Path) -> None:
    Path("picket.yaml").write_text(NEEDS.replace("port: 7070", "port: 0"))
    result = picket("check", "--approved", "policies")
    assert (result.code, result.out.split(":")[:2]) == (1, ["picket.yaml", "6"])
    Path("picket.yaml").write_text(NEEDS)
    Path("policies/cart.yaml").write_text("a: [")
    assert picket("check", "--approved", "policies").code == 1
    Path("usage.json").write_text(_map())
    assert picket("check", "--approved", "policies", "--change", "policies", "--usage", "usage.json").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nowhere.yaml", "--approved", "policies"], ["--approved", "nowhere"], ["--approved", "usage.json"],
        ["--approved", "policies", "--usage", "nowhere.json"], ["--approved", "policies", "--usage", "picket.yaml"],
        ["--approved", "policies", "--usage", "cut.json"], ["--approved", "policies", "--change", "policies"],
        ["--server", "unix:/nowhere"], ["--approved", "policies", "--used-within", "0"],
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_exit_code_two(picket: Picket, repository: Path, arguments: list[str]) -> None:
    """Without an answer nothing is approved and nothing is refused: a pipeline must not take it for either."""
    Path("usage.json").write_text(_map())
    Path("cut.json").write_text(_map(edge_count=2))
    result = picket("check", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


def test_a_repository_without_a_declaration_is_misuse(picket: Picket, repository: Path) -> None:
    Path("picket.yaml").unlink()
    assert picket("check", "--approved", "policies").code == 2
