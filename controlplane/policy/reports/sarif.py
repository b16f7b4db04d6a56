"""Findings as SARIF 2.1.0, for code scanning. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from controlplane.policy.findings import Finding, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def sarif(findings: Iterable[Finding], about: Mapping[str, str], version: str) -> str:
    """One run; ``about`` has what each rule is, ``version`` is that of picket."""
    listed = list(findings)
    rules = list(dict.fromkeys([*about, *(finding.rule for finding in listed)]))
    index = {name: number for number, name in enumerate(rules)}
    document = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "picket",
                        "semanticVersion": version,
                        "rules": [{"id": name, "shortDescription": {"text": about.get(name, name)}} for name in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, index[finding.rule]) for finding in listed],
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _result(finding: Finding, index: int) -> dict[str, Any]:
    text = f"{finding.key}: {finding.message}" if finding.key else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{text}; {finding.remedy}" if finding.remedy else text},
        # The same finding keeps its identity when lines move.
        "partialFingerprints": {"picketFinding/v1": _fingerprint(finding)},
    }
    if finding.place.file:
        region = {"startLine": finding.place.line, "startColumn": finding.place.column}
        artifact = {"uri": quote(PurePath(finding.place.file).as_posix())}
        result["locations"] = [{"physicalLocation": {"artifactLocation": artifact, "region": region}}]
    return result


def _fingerprint(finding: Finding) -> str:
    words = json.dumps([finding.rule, finding.place.file, finding.key, finding.message])
    return hashlib.sha256(words.encode()).hexdigest()[:32]
