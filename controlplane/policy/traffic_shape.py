"""The shape of a `TrafficPolicy` document: its keys, their bounds, and how they become values. Never reads files.

Written as a Kubernetes custom resource, so that the same file can be applied to a cluster: one object per destination service,
named after it.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from controlplane.identity.spiffe import parse_workload
from controlplane.policy.rules import AddressSource, HttpMatch, Mode
from controlplane.policy.traffic_policy import API_VERSION, KIND, Lease, Peer, Request, TrafficPolicy, TrafficRule
from controlplane.policy.written.shape import Fields, Given, Integer, Key, ListOf, Shape, Text, Texts, json_schema
from controlplane.topology.model import ServiceName, parse_service_name

#: Names that Kubernetes takes for an object and a namespace.
OBJECT_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
NAMESPACE = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
SCHEMA_ID = "https://picket.dev/schemas/v1alpha1/trafficpolicy.json"


def read_time(text: str) -> datetime.datetime:
    """A date (its end, UTC) or a moment with its offset.

    Raises:
        ValueError: neither.
    """
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = datetime.date.fromisoformat(text)
            return datetime.datetime.combine(day, datetime.time.min, datetime.UTC) + datetime.timedelta(days=1)
        moment = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no date") from error
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no offset; append Z for UTC")
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError as error:
        raise ValueError(f"{text[:40]!r} is out of range") from error


def write_time(moment: datetime.datetime) -> str:
    """What `read_time` reads: a date where it is the end of one."""
    if moment.time() == datetime.time.min and moment.date() > datetime.date.min:
        return (moment.date() - datetime.timedelta(days=1)).isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def free_text(what: str, at_most: int) -> Text:
    """A text for people."""
    return Text(what=what, at_most=at_most)


PORT = Integer(what="a port number", at_least=1, at_most=65535)
WORKLOAD = Text(
    what="a workload: namespace/account, e.g. shop/frontend",
    pattern=r"[A-Za-z0-9._-]{1,63}/[A-Za-z0-9._-]{1,63}",
    at_most=127,
    read=parse_workload,
)
CIDR = Text(
    what="a network, e.g. 10.1.0.0/16 or 2001:db8::/32",
    pattern=r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?",
    at_most=49,
    read=AddressSource,
)
PROTOCOL = Text(what="a protocol: lower-case letters, digits and '-'", pattern=r"[a-z][a-z0-9-]{0,31}", at_most=32)
METHOD = Text(what="an HTTP method", pattern=r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", at_most=64)
PATH = Text(
    what="a path: '/...', with {name} for one segment, '*' within one, and '*' at the end for anything",
    pattern=r"/.*",
    at_most=1024,
)
SERVICE = Text(
    what="a service: namespace/name, e.g. shop/cart",
    pattern=r"[A-Za-z0-9._-]{1,63}/[A-Za-z0-9_:](?:[A-Za-z0-9._:-]{0,251}[A-Za-z0-9_:])?",
    at_most=317,
    read=parse_service_name,
)
MODE = Text(what="a mode", choices=tuple(Mode), read=Mode)


def _peer(given: Given) -> Peer:
    return Peer(given.get("workload") or given.get("cidr"), given.place)


def _request(given: Given) -> Request:
    return Request(HttpMatch(given.get("method", ""), given.get("path", "")), given.place)


def _lease(given: Given) -> Lease:
    return Lease(given.get("owner", ""), given.get("reason", ""), given.get("ticket", ""), given.get("expires"))


def _rule(given: Given) -> TrafficRule:
    return TrafficRule(
        given.get("from"), given.get("ports"), given.get("http", ()), given.get("protocol", ""), given.get("lease"),
        given.place, given.places,
    )  # fmt: skip


def _document(given: Given) -> TrafficPolicy:
    metadata: Given = given.get("metadata")
    spec: Given = given.get("spec")
    name = ServiceName(metadata.get("namespace", "default"), metadata.get("name"))
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    return TrafficPolicy(
        spec.get("service") or name, spec.get("rules", ()), spec.get("mode"), labels, annotations, given.place
    )  # fmt: skip


PEER = Fields(
    keys={
        "workload": Key(shape=WORKLOAD, about="A workload by the identity that its certificate proves: namespace/account."),
        "cidr": Key(shape=CIDR, about="Peers without identity, by network. Only plaintext connections match it."),
    },
    one_of=("workload", "cidr"),
    build=_peer,
)
REQUEST = Fields(
    keys={
        "method": Key(shape=METHOD, about="The HTTP method; any when left out. gRPC is POST."),
        "path": Key(
            shape=PATH,
            about="The path without its query; any when left out. {name} stands for one segment, '*' for anything within one, "
            "'*' at the end for anything. gRPC is /package.Service/Method.",
        ),
    },
    any_of=("method", "path"),
    build=_request,
)
LEASE = Fields(
    keys={
        "owner": Key(shape=free_text("an owner", 253), about="The team or person that answers for it."),
        "reason": Key(shape=free_text("a reason", 4096), about="Why it is needed."),
        "ticket": Key(shape=free_text("a ticket", 253), about="Where it was decided."),
        "expires": Key(
            shape=Text(what="a date, or a moment with its offset", at_most=40, read=read_time, is_time=True),
            about="The last day (UTC) on which it is needed, or the moment at which it ends.",
        ),
    },
    any_of=("owner", "reason", "ticket", "expires"),
    build=_lease,
)
PEERS = ListOf(item=PEER)
PORTS = ListOf(item=PORT, at_most=100)
REQUESTS = ListOf(item=REQUEST)
RULE = Fields(
    keys={
        "from": Key(shape=PEERS, required=True, about="Who may call."),
        "ports": Key(shape=PORTS, required=True, about="The service's ports."),
        "protocol": Key(shape=PROTOCOL, about="What is spoken there: http, grpc, tcp, redis, ... For lint, never enforced."),
        "http": Key(shape=REQUESTS, about="What may be asked for; anything when left out."),
        "lease": Key(shape=LEASE, about="Who answers for this, why, and until when."),
    },
    build=_rule,
)
METADATA = Fields(
    keys={
        "name": Key(
            shape=Text(what="a name: lower-case letters, digits, '-' and '.'", pattern=OBJECT_NAME),
            required=True,
            about="The destination service's name.",
        ),
        "namespace": Key(
            shape=Text(what="a namespace: lower-case letters, digits and '-'", pattern=NAMESPACE, at_most=63),
            about="The destination service's namespace; default when left out.",
        ),
        "labels": Key(shape=Texts(), about="Kept, not interpreted."),
        "annotations": Key(shape=Texts(), about="Kept, not interpreted."),
    },
)
SPEC = Fields(
    keys={
        "service": Key(shape=SERVICE, about="The destination, where its name cannot be the object's: namespace/name."),
        "mode": Key(
            shape=MODE,
            about="What happens to a flow that no rule allows: it passes and is seen (learn), passes and is reported (audit), "
            "is dropped and reported (enforce); quarantine drops everything. Left to the control plane when left out.",
        ),
        "rules": Key(shape=ListOf(item=RULE, at_least=0, at_most=10_000), about="What is allowed. Nothing, when left out."),
    },
)
TRAFFIC_POLICY: Fields = Fields(
    keys={
        "apiVersion": Key(shape=Text(what="an API version", choices=(API_VERSION,)), required=True),
        "kind": Key(shape=Text(what="a kind", choices=(KIND,)), required=True),
        "metadata": Key(shape=METADATA, required=True, about="Names the destination service."),
        "spec": Key(shape=SPEC, required=True, about="Who may call the service."),
    },
    build=_document,
)


def published_schema(shape: Shape, identifier: str, title: str) -> dict[str, Any]:
    """A JSON Schema document for editors. What it accepts may still be refused: it knows shapes, not names or networks."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identifier, "title": title, **json_schema(shape)}
