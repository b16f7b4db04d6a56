"""Test results as JUnit XML, as CI servers read it. Pure.

Source: https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from controlplane.policy.findings import Finding, Severity, fails

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One test: where it stands, and what went wrong ("" when nothing did). ``broken`` when it could not be run at all."""

    suite: str
    name: str
    file: str
    line: int
    failure: str = ""
    broken: bool = False


def junit(cases: Sequence[Case]) -> str:
    """All cases, a suite each per ``Case.suite``."""
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites name={_attribute('picket')} {_counts(cases)}>"]
    for name, members in suites.items():
        lines.append(f"  <testsuite name={_attribute(name)} {_counts(members)}>")
        for case in members:
            lines += _case(case)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _counts(cases: Iterable[Case]) -> str:
    listed = list(cases)
    failures = sum(bool(case.failure) and not case.broken for case in listed)
    return f'tests="{len(listed)}" failures="{failures}" errors="{sum(case.broken for case in listed)}" skipped="0"'


def _case(case: Case) -> list[str]:
    head = f"    <testcase name={_attribute(case.name)} classname={_attribute(case.suite)}"
    head += f' file={_attribute(case.file)} line="{case.line}"'
    if not case.failure and not case.broken:
        return [f"{head}/>"]
    tag = "error" if case.broken else "failure"
    first = case.failure.split("\n", 1)[0]
    return [f"{head}>", f"      <{tag} message={_attribute(first)}>{escape(_clean(case.failure))}</{tag}>", "    </testcase>"]


def _attribute(text: str) -> str:
    return quoteattr(_clean(text), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def cases_of(findings: Iterable[Finding], files: Iterable[str], suite: str, fail_on: Severity | None) -> list[Case]:
    """One case per file that is clean, and one per finding that is bad enough."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if fails((finding,), fail_on):
            found.setdefault(finding.place.file, []).append(finding)
    cases: list[Case] = []
    for file in dict.fromkeys([*files, *found]):
        if file not in found:
            cases.append(Case(suite, file, file, 1))
        cases += [Case(suite, f"{f.rule} {f.place}", file, f.place.line, str(f)) for f in found.get(file, ())]
    return cases
