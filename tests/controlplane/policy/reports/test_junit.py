"""JUnit XML that any parser reads, whatever the names hold."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.reports.junit import Case, cases_of, junit

CASES = [
    Case("a.yaml", "passes", "a.yaml", 1),
    Case("a.yaml", "fails", "a.yaml", 2, "expected <allow>\nbut & deny"),
    Case("b.yaml", "breaks", "b.yaml", 3, "no policy", broken=True),
]


def test_suites_count_their_cases() -> None:
    root = ElementTree.fromstring(junit(CASES))
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "3", "1", "1")
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("errors")) for s in root] == [
        ("a.yaml", "2", "1", "0"), ("b.yaml", "1", "0", "1"),
    ]  # fmt: skip
    passed, failed = root[0]
    assert (passed.get("name"), passed.get("classname"), passed.get("file"), passed.get("line"), len(passed)) == (
        "passes", "a.yaml", "a.yaml", "1", 0,
    )  # fmt: skip
    assert (failed[0].tag, failed[0].get("message"), failed[0].text) == (
        "failure", "expected <allow>", "expected <allow>\nbut & deny",
    )  # fmt: skip
    assert root[1][0][0].tag == "error"


def test_no_case_at_all_is_a_document_too() -> None:
    assert ElementTree.fromstring(junit([])).get("tests") == "0"


@given(st.text(), st.text(min_size=1))
def test_any_text_survives_or_is_replaced(name: str, failure: str) -> None:
    root = ElementTree.fromstring(junit([Case("s", name, "f", 1, failure)]))
    (case,) = root.iter("testcase")
    assert len(case.get("name") or "") == len(name)


def test_findings_become_failures_when_they_are_bad_enough() -> None:
    findings = [
        Finding("x", Severity.ERROR, "bad", Place("a.yaml", 2)),
        Finding("y", Severity.WARNING, "odd", Place("b.yaml", 3)),
    ]
    made = cases_of(findings, ["a.yaml", "b.yaml", "c.yaml"], "lint", Severity.ERROR)
    assert [(case.file, case.line, bool(case.failure)) for case in made] == [
        ("a.yaml", 2, True), ("b.yaml", 1, False), ("c.yaml", 1, False),
    ]  # fmt: skip
    assert [bool(case.failure) for case in cases_of(findings, ["a.yaml", "b.yaml"], "lint", Severity.WARNING)] == [True, True]
    assert not any(case.failure for case in cases_of(findings, ["a.yaml", "b.yaml"], "lint", None))
