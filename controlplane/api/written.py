"""Reads `TrafficPolicy` files that came in a body. Never says whether they may come into force."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from controlplane.api.problems import problem
from controlplane.api.requests import PolicyFile
from controlplane.policy.findings import Severity
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import TrafficPolicy


def documents_of(files: Iterable[PolicyFile]) -> list[TrafficPolicy]:
    """All documents of the files.

    Raises:
        ApiProblemError: one does not read, and names the first mistake; or there is none.
    """
    found: list[TrafficPolicy] = []
    for file in files:
        reading = read_documents(file.text.encode(), file.name)
        wrong = next((finding for finding in reading.findings if finding.severity is Severity.ERROR), None)
        if wrong is not None:
            detail = f"{wrong.place}: {wrong.message}"
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, where="body.files", remedy=wrong.remedy)
        found += reading.documents
    if not found:
        detail = "there is no TrafficPolicy document in the files"
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, where="body.files")
    return found
