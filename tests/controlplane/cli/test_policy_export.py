"""`picket policy export` and `picket policy diff PATH`: files, and a control plane on a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from controlplane.policy.rules import Mode
from controlplane.policy.traffic_documents import read_documents
from controlplane.topology.model import ServiceName
from tests.controlplane.cli.conftest import Picket
from tests.controlplane.cli.papers import CART, repository
from tests.harness.plane import GET_CART, PAY, Plane

__all__ = ["repository"]


@pytest.fixture
def approved(plane: Plane) -> Plane:
    plane.learn(GET_CART, PAY)
    proposal = plane.review.refresh_proposal()
    assert proposal is not None
    plane.review.approve(proposal.number, "someone", "")
    return plane


@pytest.mark.parametrize("target", ["networkpolicy", "cilium", "istio"])
def test_files_become_manifests_and_what_is_unsaid_is_told(picket: Picket, repository: Path, target: str) -> None:
    result = picket("policy", "export", "policies", "--to", target)
    (manifest,) = yaml.safe_load_all(result.out)
    assert (result.code, manifest["metadata"]["name"]) == (0, "picket-cart")
    assert "assumed: pods listen on the services' ports" in result.err
    strict = picket("policy", "export", "policies", "--to", target, "--strict", "-o", "json")
    assert strict.code == (1 if target == "networkpolicy" else 0)
    assert len(strict.json["manifests"]) == 1


def test_files_are_exported_into_a_file(picket: Picket, repository: Path) -> None:
    result = picket("policy", "export", "policies", "--to", "cilium", "--egress", "--into", "out.yaml")
    assert (result.code, result.out) == (0, "")
    assert Path("out.yaml").read_text().startswith("# CiliumNetworkPolicy, exported by picket from policy revision 0.\n")


def test_services_that_do_not_enforce_are_exported_when_told_to(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("spec:\n", "spec:\n  mode: audit\n"))
    assert "kind:" not in picket("policy", "export", "policies", "--to", "cilium").out
    assert "kind:" in picket("policy", "export", "policies", "--to", "cilium", "--enforced").out


def test_files_that_do_not_read_are_not_exported(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("[7070]", "[0]"))
    result = picket("policy", "export", "policies", "--to", "cilium")
    assert (result.code, "kind:" in result.out) == (1, False)


def test_what_is_approved_becomes_documents(picket: Picket, approved: Plane) -> None:
    result = picket("policy", "export")
    documents = read_documents(result.out.encode(), "out").documents
    assert [str(document.service) for document in documents] == [
        "default/frontend", "ops/redis", "outside/api.example.com", "shop/cart", "shop/pay", "shop/redis",
    ]  # fmt: skip
    assert [rule.protocol for document in documents for rule in document.rules] == ["grpc", "http"]


def test_a_folder_follows_what_is_approved_and_keeps_its_comments(picket: Picket, approved: Plane, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("  - from:\n", "  - from:\n    - workload: shop/gone\n"))
    result = picket("policy", "export", "--into", "policies")
    assert result.code == 0
    assert Path("policies/cart.yaml").read_text() == CART
    assert "policies/shop.pay.yaml" in result.out
    again = picket("policy", "export", "--into", "policies")
    assert (again.code, again.out) == (0, "")
    assert picket("policy", "diff", "policies").out.startswith("revision 1 to 6 documents: 0 differences")


def test_a_folder_that_does_not_read_is_not_touched(picket: Picket, approved: Plane, repository: Path) -> None:
    Path("policies/broken.yaml").write_text("a: [")
    assert picket("policy", "export", "--into", "policies").code == 1
    assert sorted(path.name for path in Path("policies").iterdir()) == ["broken.yaml", "cart.yaml"]
    assert picket("policy", "export", "--into", "policies/cart.yaml").code == 2


def test_what_files_would_change_is_shown(picket: Picket, approved: Plane, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(CART.replace("spec:\n", "spec:\n  mode: enforce\n").replace("Cart/Get", "Cart/Add"))
    result = picket("policy", "diff", "policies")
    assert (
        result.out
        == """\
revision 1 to 1 document: 2 differences
shop/cart
  ~ mode learn -> enforce
shop/cart
  ~ default/frontend -> :7070
      - POST /shop.Cart/Get
      + POST /shop.Cart/Add
"""
    )
    assert result.err == "no document, kept as they are: shop/pay\n"
    found = picket("policy", "diff", "policies", "--prune", "-o", "json").json
    changes = [(change["service"], change["change"]) for change in found["changes"]]
    assert changes == [("shop/cart", "changed"), ("shop/pay", "removed")]
    assert found["modes"] == [{"service": "shop/cart", "before": "learn", "after": "enforce"}]


def test_files_that_do_not_read_cannot_be_compared(picket: Picket, approved: Plane, repository: Path) -> None:
    Path("policies/cart.yaml").write_text("a: [")
    assert picket("policy", "diff", "policies").code == 1
    assert picket("policy", "diff", "policies", "-o", "json").json["findings"][0]["rule"] == "invalid"


def test_without_a_control_plane_there_is_nothing_to_export(picket: Picket, repository: Path) -> None:
    for arguments in (["export"], ["diff", "policies"]):
        result = picket("policy", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)


def test_what_enforces_in_the_mesh_is_restricted_in_the_export(picket: Picket, approved: Plane) -> None:
    assert "kind:" not in picket("policy", "export", "--to", "istio").out
    approved.review.modes.change([ServiceName("shop", "cart")], Mode.ENFORCE, "someone")
    (manifest,) = yaml.safe_load_all(picket("policy", "export", "--to", "istio").out)
    assert (manifest["metadata"]["name"], manifest["spec"]["rules"][0]["to"][0]["operation"]["paths"]) == (
        "picket-cart", ["/shop.Cart/Get"],
    )  # fmt: skip
