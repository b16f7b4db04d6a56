"""`TrafficTest` documents: who calls what, and what is to become of it. Reads them; never evaluates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from controlplane.identity.spiffe import WorkloadId, parse_workload
from controlplane.policy.findings import Finding, Place
from controlplane.policy.rules import Mode
from controlplane.policy.traffic_documents import is_other, read_kind
from controlplane.policy.traffic_policy import API_VERSION
from controlplane.policy.traffic_shape import METHOD, PORT, SERVICE
from controlplane.policy.written.shape import Fields, Given, Key, ListOf, Text
from controlplane.policy.written.source import read_source
from controlplane.topology.model import ServiceName, canonical_address

KIND = "TrafficTest"
SCHEMA_ID = "https://picket.dev/schemas/v1alpha1/traffictest.json"
ALLOW, WOULD_DENY, DENY = "allow", "would-deny", "deny"
_NOT_AS_SENT = re.compile(r"[?#{}]|/\.{1,2}(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class Source:
    """Who calls: a workload by its identity, or an address without one."""

    workload: WorkloadId | None = None
    address: str = ""

    def __str__(self) -> str:
        return str(self.workload) if self.workload is not None else self.address


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent: an HTTP request, or with an empty method a connection."""

    method: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}" if self.method else ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One case: every source, every request, one verdict. ``name`` is empty where it was given none."""

    name: str
    sources: tuple[Source, ...]
    destination: ServiceName
    port: int
    requests: tuple[Sent, ...]
    verdict: str
    place: Place


@dataclass(frozen=True, slots=True)
class Expectations:
    """One document. ``policy`` names files and folders relative to it; ``mode`` is for services whose document says none."""

    policy: tuple[str, ...]
    mode: Mode
    cases: tuple[Expectation, ...]


def _source(text: str) -> Source:
    address = canonical_address(text)
    return Source(address=address) if address is not None else Source(parse_workload(text))


def _path(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text or _NOT_AS_SENT.search(text):
        raise ValueError(f"{text[:80]!r} is not a path as it arrives: no query, no {{name}}, no spaces, no dot segments")
    return text


def _default_mode(text: str) -> Mode:
    mode = Mode(text)
    if mode is Mode.QUARANTINE:
        raise ValueError("quarantine is for a service by name; set it in the service's document")
    return mode


def _case(given: Given) -> Expectation:
    sources, destination, port, verdict = (given.get(key) for key in ("from", "to", "port", "expect"))
    requests: tuple[Sent, ...] = given.get("requests") or (Sent(),)
    return Expectation(given.get("name", ""), sources, destination, port, requests, verdict, given.place)


def _document(given: Given) -> Expectations:
    return Expectations(given.get("policy", ()), given.get("mode", Mode.ENFORCE), given.get("cases"))


SENT = Fields(
    keys={
        "method": Key(shape=METHOD, required=True, about="The HTTP method; gRPC is POST."),
        "path": Key(
            shape=Text(what="a path as it arrives, e.g. /users/42", pattern="/.*", at_most=1024, read=_path),
            required=True,
            about="The path as it arrives, without its query.",
        ),
    },
    build=lambda given: Sent(given.get("method"), given.get("path")),
)
_SOURCE = Text(what="a workload (namespace/account), or an address without identity", at_most=127, read=_source)
CASE = Fields(
    keys={
        "name": Key(shape=Text(what="a name", at_most=253), about="What the case is called in reports."),
        "from": Key(shape=ListOf(item=_SOURCE), required=True, about="Who calls: workloads, or addresses without identity."),
        "to": Key(shape=SERVICE, required=True, about="The service that is called: namespace/name."),
        "port": Key(shape=PORT, required=True, about="The service's port."),
        "requests": Key(shape=ListOf(item=SENT), about="What is asked for; a connection without a request when left out."),
        "expect": Key(
            shape=Text(what="a verdict", choices=(ALLOW, DENY, WOULD_DENY)),
            required=True,
            about="What becomes of it: it passes (allow), is dropped (deny), or passes and is reported (would-deny).",
        ),
    },
    build=_case,
)
TRAFFIC_TEST = Fields(
    keys={
        "apiVersion": Key(shape=Text(what="an API version", choices=(API_VERSION,)), required=True),
        "kind": Key(shape=Text(what="a kind", choices=(KIND,)), required=True),
        "policy": Key(
            shape=ListOf(item=Text(what="a file or folder", at_most=1024)),
            about="Files and folders of TrafficPolicy documents, relative to this file.",
        ),
        "mode": Key(
            shape=Text(what="a mode", choices=tuple(mode for mode in Mode if mode is not Mode.QUARANTINE), read=_default_mode),
            about="The mode of services whose document says none; enforce when left out.",
        ),
        "cases": Key(shape=ListOf(item=CASE, at_most=10_000), required=True, about="Who calls what, and what is to become of it."),
    },
    build=_document,
)


def read_expectations(body: bytes, file: str) -> tuple[tuple[Expectations, ...], tuple[Finding, ...]]:
    """The documents of a file, and what is wrong with it."""
    source = read_source(body, file)
    if isinstance(source, Finding):
        return (), (source,)
    documents: list[Expectations] = []
    findings: list[Finding] = []
    for root in source.documents:
        if is_other(root):
            continue
        value: Any
        value, wrongs = read_kind(TRAFFIC_TEST, root, KIND)
        findings += wrongs
        if value is not None:
            documents.append(value)
    return tuple(documents), tuple(findings)
