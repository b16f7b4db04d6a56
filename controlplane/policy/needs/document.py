"""`picket.yaml` in a service's repository: which services it calls, on which ports and with which requests. Reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Finding, Place
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.policy.traffic_documents import is_other, read_kind
from controlplane.policy.traffic_policy import API_VERSION, Request
from controlplane.policy.traffic_shape import PORT, PROTOCOL, REQUESTS, SERVICE, WORKLOAD, free_text
from controlplane.policy.written.shape import Fields, Flag, Given, Key, ListOf, Text
from controlplane.policy.written.source import read_source
from controlplane.topology.model import ServiceName

KIND = "ServiceNeeds"
SCHEMA_ID = "https://picket.dev/schemas/v1alpha1/serviceneeds.json"


@dataclass(frozen=True, slots=True)
class Need:
    """One edge that the service needs. ``optional`` when it also works without."""

    destination: ServiceName
    port: int
    protocol: str
    requests: tuple[Request, ...]
    reason: str
    optional: bool
    place: Place

    @property
    def matches(self) -> tuple[HttpMatch, ...]:
        """The methods and paths; empty for whatever is sent."""
        return tuple(request.match for request in self.requests)


@dataclass(frozen=True, slots=True)
class Needs:
    """One document."""

    workload: WorkloadId
    owner: str
    needs: tuple[Need, ...]
    place: Place

    def rules(self) -> Iterator[tuple[Need, Rule]]:
        """The rule that would allow each need."""
        for need in self.needs:
            yield need, Rule(self.workload, need.port, need.matches)


def _need(given: Given) -> Need:
    return Need(
        given.get("to"), given.get("port"), given.get("protocol", ""), given.get("requests", ()), given.get("reason", ""),
        given.get("optional", False), given.place,
    )  # fmt: skip


NEED = Fields(
    keys={
        "to": Key(shape=SERVICE, required=True, about="The service that is called: namespace/name, or external/HOST."),
        "port": Key(shape=PORT, required=True, about="The service's port."),
        "protocol": Key(shape=PROTOCOL, about="What is spoken there: http, grpc, tcp, redis, ..."),
        "requests": Key(shape=REQUESTS, about="What is asked for; whatever is sent, when left out."),
        "reason": Key(shape=free_text("a reason", 4096), about="Why it is needed; it goes into the proposal."),
        "optional": Key(
            shape=Flag(),
            about="Whether the service also works without it; what is not approved is then only told of.",
        ),
    },
    build=_need,
)
SERVICE_NEEDS = Fields(
    keys={
        "apiVersion": Key(shape=Text(what="an API version", choices=(API_VERSION,)), required=True),
        "kind": Key(shape=Text(what="a kind", choices=(KIND,)), required=True),
        "service": Key(shape=WORKLOAD, required=True, about="The service of this repository, by its workload: namespace/name."),
        "owner": Key(shape=free_text("an owner", 253), about="The team or person that answers for it."),
        "needs": Key(shape=ListOf(item=NEED, at_least=0), required=True, about="What it calls."),
    },
    build=lambda given: Needs(given.get("service"), given.get("owner", ""), given.get("needs"), given.place),
)


def read_needs(body: bytes, file: str) -> tuple[tuple[Needs, ...], tuple[Finding, ...]]:
    """The documents of a file, and what is wrong with it."""
    source = read_source(body, file)
    if isinstance(source, Finding):
        return (), (source,)
    documents: list[Needs] = []
    findings: list[Finding] = []
    for root in source.documents:
        if not is_other(root):
            value, wrongs = read_kind(SERVICE_NEEDS, root, KIND)
            findings += wrongs
            if value is not None:
                documents.append(value)
    return tuple(documents), tuple(findings)
