"""A policy's allow-lists as JSON text and back, in the shape in which revisions are stored and shown. Never stores them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_workload
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy, rule_order
from controlplane.topology.model import ServiceName, parse_service_name


class DocumentError(ValueError):
    """A stored policy document that does not read; the message says where."""


class _Http(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    method: str = ""
    path: str = ""


class _Rule(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    source: str
    port: int
    http: list[_Http] = []


class _Service(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    service: str
    revision: int = 0
    egress_revision: int = 0
    revoked: dict[str, int] = {}
    egress_revoked: dict[str, int] = {}
    rules: list[_Rule] = []


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    services: list[_Service]


def parse_source(text: str) -> WorkloadId | AddressSource:
    """Read a rule's source as documents, flows and tables write it: ``namespace/account`` or ``ip:CIDR``.

    Raises:
        ValueError: another shape.
    """
    return AddressSource(text[3:]) if text.startswith("ip:") else parse_workload(text)


def dump_policy(policy: Policy) -> str:
    """All allow-lists, ordered, so that equal policies give equal text."""
    return PolicyTexts().dump(policy)


class PolicyTexts:
    """Dumps one policy after another, and writes anew only the services that are not the very values of the one before."""

    def __init__(self) -> None:
        self._kept: dict[ServiceName, tuple[ServicePolicy, bytes]] = {}

    def dump(self, policy: Policy) -> str:
        """The text of `dump_policy`. Safe to call from several threads."""
        before = self._kept
        made: dict[ServiceName, tuple[ServicePolicy, bytes]] = {}
        for name, listed in sorted(policy.services.items()):
            known = before.get(name)
            # Values are frozen: the same object has the same text.
            made[name] = known if known is not None and known[0] is listed else (listed, _service(name, listed))
        self._kept = made
        return f'{{"services":[{b",".join(text for _, text in made.values()).decode()}]}}'


def _service(name: ServiceName, listed: ServicePolicy) -> bytes:
    made = _Service(
        service=str(name),
        revision=listed.revision,
        egress_revision=listed.egress_revision,
        revoked=_dumped(listed.revoked),
        egress_revoked=_dumped(listed.egress_revoked),
        rules=[_rule(rule) for rule in sorted(listed.rules, key=rule_order)],
    )
    return msgspec.json.encode(made)


def _dumped(revisions: Mapping[int, int]) -> dict[str, int]:
    """Revisions by port; keys of JSON are text."""
    return {str(port): revision for port, revision in sorted(revisions.items())}


def _loaded(revisions: Mapping[str, int]) -> dict[int, int]:
    return {int(port): revision for port, revision in revisions.items()}


def _rule(rule: Rule) -> _Rule:
    return _Rule(str(rule.source), rule.port, [_Http(m.method, m.path) for m in sorted(rule.http)])


def load_policy(text: str, revision: int, modes: Mapping[ServiceName, Mode], default_mode: Mode) -> Policy:
    """Read a stored document; modes are kept apart from revisions.

    Raises:
        DocumentError: the text is not such a document.
    """
    try:
        document = msgspec.json.decode(text, type=_Document)
        services: dict[ServiceName, ServicePolicy] = {}
        for item in document.services:
            name = parse_service_name(item.service)
            rules = tuple(
                Rule(parse_source(rule.source), rule.port, tuple(HttpMatch(h.method, h.path) for h in rule.http))
                for rule in item.rules
            )
            revoked, egress_revoked = _loaded(item.revoked), _loaded(item.egress_revoked)
            if name in services:
                raise ValueError(f"{name} is there twice")
            services[name] = ServicePolicy(name, rules, item.revision, item.egress_revision, revoked, egress_revoked)
    except (msgspec.DecodeError, SpiffeError, ValueError) as error:
        raise DocumentError(f"revision {revision} does not read: {error}") from error
    return Policy(revision, services, dict(modes), default_mode)
