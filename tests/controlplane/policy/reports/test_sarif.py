"""SARIF 2.1.0 as code scanning takes it."""

from __future__ import annotations

import json

from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.reports.sarif import sarif

FINDINGS = [
    Finding("wide-path", Severity.WARNING, "every path fits", Place("my policies/a.yaml", 4, 7), "spec.rules[0]", "name one"),
    Finding("other", Severity.INFO, "nothing", Place("")),
    Finding("wide-path", Severity.ERROR, "again", Place("b.yaml", 1)),
]


def test_a_run_names_the_tool_its_rules_and_every_finding() -> None:
    document = json.loads(sarif(FINDINGS, {"wide-path": "A wide path.", "unseen": "Never."}, "0.1.0"))
    assert (document["version"], document["$schema"].endswith("sarif-schema-2.1.0.json")) == ("2.1.0", True)
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("picket", "0.1.0")
    assert [rule["id"] for rule in driver["rules"]] == ["wide-path", "unseen", "other"]
    assert driver["rules"][0]["shortDescription"] == {"text": "A wide path."}
    assert [(result["ruleId"], result["ruleIndex"], result["level"]) for result in run["results"]] == [
        ("wide-path", 0, "warning"), ("other", 2, "note"), ("wide-path", 0, "error"),
    ]  # fmt: skip
    first = run["results"][0]
    assert first["message"] == {"text": "spec.rules[0]: every path fits; name one"}
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "my%20policies/a.yaml"},
                "region": {"startLine": 4, "startColumn": 7},
            }
        }
    ]
    assert "locations" not in run["results"][1]


def test_a_finding_keeps_its_identity_when_lines_move() -> None:
    moved = Finding("wide-path", Severity.WARNING, "every path fits", Place("my policies/a.yaml", 9, 1), "spec.rules[0]")
    prints = [
        result["partialFingerprints"]["picketFinding/v1"]
        for result in json.loads(sarif([FINDINGS[0], moved, FINDINGS[2]], {}, "0"))["runs"][0]["results"]
    ]
    assert prints[0] == prints[1] != prints[2]


def test_no_finding_is_a_run_without_results() -> None:
    assert json.loads(sarif([], {}, "0.1.0"))["runs"][0]["results"] == []
