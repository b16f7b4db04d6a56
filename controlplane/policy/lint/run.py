"""Lints files: reads each, checks its documents, and lets comments silence what they name. Pure: bytes in, findings out."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.policy.findings import Finding, Place, in_order
from controlplane.policy.lint import catalogue
from controlplane.policy.lint.document import check_document
from controlplane.policy.lint.ignores import Ignore, ignores_in, silence
from controlplane.policy.lint.surroundings import check_surroundings
from controlplane.policy.traffic_documents import documents_in
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.written.source import read_source
from controlplane.topology.model import ServiceName, Topology


@dataclass(frozen=True, slots=True)
class Linted:
    """What was found, and the documents that read."""

    findings: tuple[Finding, ...]
    documents: tuple[TrafficPolicy, ...]


def lint(files: Iterable[tuple[str, bytes]], now: datetime.datetime, topology: Topology | None = None) -> Linted:
    """Check files, each with its name; ``now`` with its time zone."""
    findings: list[Finding] = []
    ignores: list[Ignore] = []
    documents: list[TrafficPolicy] = []
    for name, body in files:
        source = read_source(body, name)
        if isinstance(source, Finding):
            findings.append(source)
            continue
        reading = documents_in(source)
        findings += reading.findings
        if reading.others:
            findings.append(catalogue.OTHER_KIND.found(Place(name), f"{reading.others} objects of other kinds are left alone"))
        documents += reading.documents
        ignores += ignores_in(source)
    first: dict[ServiceName, TrafficPolicy] = {}
    for document in documents:
        before = first.setdefault(document.service, document)
        if before is not document:
            message = f"{document.service} has a document at {before.place.file}:{before.place.line} already"
            findings.append(catalogue.DUPLICATE_DOCUMENT.found(document.place, message, remedy="merge them"))
        findings += check_document(document, now)
        findings += check_surroundings(document, topology)
    return Linted(in_order(silence(findings, ignores)), tuple(documents))
