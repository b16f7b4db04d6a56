"""Writes `TrafficPolicy` documents as YAML, and puts written ones into canonical form. Keeps every comment; never does I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.rules import AddressSource
from controlplane.policy.traffic_documents import is_other
from controlplane.policy.traffic_policy import API_VERSION, KIND, Lease, TrafficPolicy, TrafficRule
from controlplane.policy.traffic_shape import NAMESPACE, OBJECT_NAME, TRAFFIC_POLICY, write_time
from controlplane.policy.written.comments import Annotated, Part, annotate, comments_of
from controlplane.policy.written.shape import Fields, ListOf, Shape
from controlplane.policy.written.source import Source, read_source
from controlplane.policy.written.tree import Kind, Scalar, plain
from controlplane.policy.written.writer import write
from controlplane.topology.model import ServiceName

_NOWHERE = Place("")


def write_documents(documents: Iterable[TrafficPolicy]) -> str:
    """The documents as one file in canonical form."""
    return write(Annotated([part_of(document) for document in documents], []))


def format_text(body: bytes, file: str) -> str | Finding:
    """A file in canonical form: the same values in the order of the schema's keys, with the same comments.

    A file with documents of other kinds is left alone: how they are written is not Picket's business.
    """
    source = read_source(body, file)
    if isinstance(source, Finding):
        return source
    if any(is_other(root) for root in source.documents):
        return Finding("other-kind", Severity.INFO, "holds documents of other kinds, and is not formatted", Place(file))
    return format_source(source, TRAFFIC_POLICY)


def format_source(source: Source, shape: Shape) -> str | Finding:
    """A parsed file in canonical form."""
    annotated = annotate(source)
    for document in annotated.documents:
        arrange(document, shape)
    text = write(annotated)
    if not _same(source, text):
        # Nobody's file is replaced by a text that says something else.
        return Finding("not-formatted", Severity.ERROR, "cannot be formatted without changing it", Place(source.file))
    return text


def _same(before: Source, text: str) -> bool:
    after = read_source(text.encode(), before.file)
    if isinstance(after, Finding) or [plain(root) for root in before.documents] != [plain(root) for root in after.documents]:
        return False
    return sorted(c.text for c in comments_of(before)) == sorted(c.text for c in comments_of(after))


def arrange(part: Part, shape: Shape) -> None:
    """Bring keys into the order of the shape; unknown ones come last. Items keep their order: it is their writer's."""
    if isinstance(part.value, Scalar):
        return
    if isinstance(shape, ListOf) and part.is_list:
        for child in part.value:
            arrange(child, shape.item)
    elif isinstance(shape, Fields) and not part.is_list:
        order = {name: index for index, name in enumerate(shape.keys)}
        for child in part.value:
            known = shape.keys.get(child.key.text) if child.key is not None else None
            if known is not None:
                arrange(child, known.shape)
        part.value.sort(key=lambda child: order.get(child.key.text, len(order)) if child.key is not None else 0)


def part_of(document: TrafficPolicy) -> Part:
    """A document as it is written."""
    return Part(None, list(_document(document)))


def spec_of(document: TrafficPolicy) -> dict[str, object]:
    """What a document says, as a cluster's API takes it in JSON; times are texts."""
    made = _value(part_of(document))
    assert isinstance(made, dict)
    spec: dict[str, object] = made["spec"]
    return spec


def _value(part: Part) -> object:
    if isinstance(part.value, Scalar):
        return int(part.value.text) if part.value.kind is Kind.INTEGER else part.value.text
    if part.is_list:
        return [_value(child) for child in part.value]
    return {child.key.text: _value(child) for child in part.value if child.key is not None}


def rule_part(rule: TrafficRule) -> Part:
    """A rule as an item of the list of rules."""
    return Part(None, list(_rule(rule)))


def _document(document: TrafficPolicy) -> Iterator[Part]:
    yield entry("apiVersion", API_VERSION)
    yield entry("kind", KIND)
    name, named = object_name(document.service)
    metadata = [entry("name", name.name), entry("namespace", name.namespace)]
    for key, texts in (("labels", document.labels), ("annotations", document.annotations)):
        if texts:
            metadata.append(mapping(key, _texts(texts)))
    yield mapping("metadata", metadata)
    spec: list[Part] = []
    if not named:
        spec.append(entry("service", str(document.service)))
    if document.mode is not None:
        spec.append(entry("mode", str(document.mode)))
    spec.append(listed("rules", [rule_part(rule) for rule in document.rules]))
    yield mapping("spec", spec)


def object_name(service: ServiceName) -> tuple[ServiceName, bool]:
    """The name of a service's document, and whether it says the service's name exactly."""
    if re.fullmatch(OBJECT_NAME, service.name) and re.fullmatch(NAMESPACE, service.namespace):
        return service, True
    return ServiceName(_slug(service.namespace, 63), _slug(service.name, 253)), False


def _slug(text: str, at_most: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:at_most].strip("-") or "unnamed"


def _texts(texts: Mapping[str, str]) -> list[Part]:
    return [entry(key, text) for key, text in texts.items()]


def _rule(rule: TrafficRule) -> Iterator[Part]:
    peers = []
    for peer in rule.peers:
        address = peer.source.cidr if isinstance(peer.source, AddressSource) else ""
        peers.append(Part(None, [entry("cidr", address) if address else entry("workload", str(peer.source))]))
    yield listed("from", peers)
    yield listed("ports", [Part(None, Scalar(str(port), Kind.INTEGER, _NOWHERE)) for port in rule.ports])
    if rule.protocol:
        yield entry("protocol", rule.protocol)
    if rule.http:
        yield listed("http", [Part(None, list(_request(r.match.method, r.match.path))) for r in rule.http])
    if rule.lease is not None:
        yield mapping("lease", list(_lease(rule.lease)))


def _request(method: str, path: str) -> Iterator[Part]:
    if method:
        yield entry("method", method)
    if path:
        yield entry("path", path)


def _lease(lease: Lease) -> Iterator[Part]:
    for key in ("owner", "reason", "ticket"):
        if getattr(lease, key):
            yield entry(key, getattr(lease, key))
    if lease.expires is not None:
        text = write_time(lease.expires)
        yield Part(_key("expires"), Scalar(text, Kind.TIME, _NOWHERE))


def entry(key: str, text: str) -> Part:
    """A key with a text."""
    return Part(_key(key), Scalar(text, Kind.TEXT, _NOWHERE))


def mapping(key: str, entries: list[Part]) -> Part:
    """A key with a mapping."""
    return Part(_key(key), entries)


def listed(key: str, items: list[Part]) -> Part:
    """A key with a list."""
    return Part(_key(key), items, is_list=True)


def _key(text: str) -> Scalar:
    return Scalar(text, Kind.TEXT, _NOWHERE)
