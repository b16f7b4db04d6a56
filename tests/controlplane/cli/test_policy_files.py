"""`picket policy lint|fmt|schema` on real files."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controlplane.policy.schemas import SCHEMAS
from tests.controlplane.cli.conftest import Picket
from tests.controlplane.cli.papers import CART, repository

__all__ = ["repository"]
WIDE = CART.replace("path: /shop.Cart/Get", "path: /*")


def test_good_files_have_no_findings(picket: Picket, repository: Path) -> None:
    result = picket("policy", "lint", "policies")
    assert (result.code, result.out, result.err) == (0, "", "no findings\n")


def test_findings_name_file_line_column_key_and_remedy(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(WIDE.replace("[7070]", "[0]"))
    result = picket("policy", "lint", "policies")
    assert (result.code, result.err) == (1, "1 error\n")
    assert result.out == "policies/cart.yaml:11:13: error: spec.rules[0].ports[0]: 0 is not a port number: 1 to 65535 [invalid]\n"


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1), ("info", 1), ("never", 0)])
def test_the_least_that_fails_is_the_users_choice(picket: Picket, repository: Path, fail_on: str, code: int) -> None:
    Path("policies/cart.yaml").write_text(WIDE)
    assert picket("policy", "lint", "policies", "--fail-on", fail_on).code == code
    assert picket("policy", "lint", "policies", "--fail-on", fail_on, "--ignore", "wide-path").code == 0


def test_findings_for_programs(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text(WIDE)
    reports = ["--sarif", "out.sarif", "--junit", "out.xml"]
    result = picket("policy", "lint", "policies", "-o", "json", "--fail-on", "warning", *reports)
    assert result.json["documents"] == 1
    (finding,) = result.json["findings"]
    assert (finding["rule"], finding["file"], finding["line"], finding["column"]) == ("wide-path", "policies/cart.yaml", 14, 7)
    (sarif,) = json.loads(Path("out.sarif").read_text())["runs"]
    assert [found["ruleId"] for found in sarif["results"]] == ["wide-path"]
    assert ElementTree.fromstring(Path("out.xml").read_text()).get("failures") == "1"


def test_names_are_held_against_a_topology(picket: Picket, repository: Path) -> None:
    Path("mesh.yaml").write_text("services:\n- {name: cart, namespace: shop, kind: service, ports: []}\n")
    result = picket("policy", "lint", "policies", "--topology", "mesh.yaml")
    assert "[unknown-workload]" in result.out


def test_the_rules_are_listed(picket: Picket) -> None:
    assert "wide-path" in picket("policy", "lint", "--rules").out
    assert {"rule", "severity", "about"} == set(picket("policy", "lint", "--rules", "-o", "json").json["rules"][0])


@pytest.mark.parametrize(
    "arguments",
    [
        ["lint"], ["lint", "nowhere"], ["lint", "empty"], ["lint", "policies", "--ignore", "nothing"],
        ["lint", "policies", "--ignore", "invalid"], ["lint", "policies", "--topology", "policies/cart.yaml"],
        ["lint", "policies", "--sarif", "nowhere/x"], ["fmt"], ["fmt", "nowhere"], ["schema", "Nothing"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_with_exit_code_two(picket: Picket, repository: Path, arguments: list[str]) -> None:
    Path("empty").mkdir()
    result = picket("policy", *arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_files_are_formatted_in_place_and_keep_their_permissions(picket: Picket, repository: Path) -> None:
    file = Path("policies/cart.yaml")
    loose = CART.replace("kind: TrafficPolicy\n", "").replace("spec:\n", "kind:    TrafficPolicy\nspec:\n")
    file.write_text(loose)
    file.chmod(0o640)
    assert picket("policy", "fmt", "--check", "policies").code == 1
    shown = picket("policy", "fmt", "--diff", "policies")
    assert (shown.code, "+kind: TrafficPolicy" in shown.out, file.read_text()) == (0, True, loose)
    result = picket("policy", "fmt", "policies")
    assert (result.code, result.out, result.err) == (0, "policies/cart.yaml\n", "1 file changed\n")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (CART, 0o640)
    assert picket("policy", "fmt", "--check", "policies").code == 0
    assert [path.name for path in Path("policies").iterdir()] == ["cart.yaml"]


def test_files_of_others_and_hidden_ones_are_left_alone(picket: Picket, repository: Path) -> None:
    Path("policies/service.yaml").write_text("apiVersion:   v1\nkind:   Service\n")
    Path("policies/.hidden.yaml").write_text("a:   1\n")
    Path("policies/.git").mkdir()
    Path("policies/.git/x.yaml").write_text("a:   1\n")
    result = picket("policy", "fmt", "policies")
    assert (result.code, "[other-kind]" in result.out) == (0, True)
    assert Path("policies/.hidden.yaml").read_text() == "a:   1\n"


def test_a_file_that_is_no_yaml_fails_the_formatting(picket: Picket, repository: Path) -> None:
    Path("policies/cart.yaml").write_text("a: [")
    assert picket("policy", "fmt", "policies").code == 1


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_a_schema_is_printed(picket: Picket, kind: str) -> None:
    assert picket("policy", "schema", kind).json["properties"]["kind"]["enum"] == [kind]
