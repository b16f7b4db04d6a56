"""`picket policy export`: the approved allow-lists as files for people, or as manifests of other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from controlplane.cli.approved import approved, leases, seen
from controlplane.cli.connection import Way
from controlplane.cli.findings import show_findings
from controlplane.cli.output import clean, plural, show_json
from controlplane.cli.written import read_topology, write_file, yaml_below, yaml_files
from controlplane.policy.exports.cilium import cilium_policies
from controlplane.policy.exports.istio import authorization_policies
from controlplane.policy.exports.manifests import unsaid_lines, write_export
from controlplane.policy.exports.model import Effect, Export, Names, Unsaid
from controlplane.policy.exports.networkpolicy import network_policies
from controlplane.policy.rules import Mode, Policy
from controlplane.policy.traffic_documents import documents_of, file_name
from controlplane.policy.traffic_edit import Updated, update
from controlplane.policy.traffic_policy import Held, Lease
from controlplane.policy.traffic_text import write_documents
from controlplane.topology.model import ServiceName, Topology

_PORTS = "pods listen on the services' ports: without --topology theirs are not known"
_TARGETS: Mapping[str, tuple[str, Callable[..., Export]]] = {
    "networkpolicy": ("Kubernetes NetworkPolicy", network_policies),
    "cilium": ("CiliumNetworkPolicy", cilium_policies),
    "istio": ("Istio AuthorizationPolicy", authorization_policies),
}


def export_policy(
    way: Way,
    paths: Sequence[Path],
    target: str,
    topology: Path | None,
    label: str,
    trust_domain: str,
    into: Path | None,
    *,
    egress: bool,
    enforced: bool,
    strict: bool,
) -> None:
    """Export what is approved, or what files say, as documents or as manifests of another tool."""
    given = read_topology(topology)
    if paths:
        policy, folder = approved(way, paths, Mode.ENFORCE)
        if folder.findings:
            show_findings(folder.findings)
            click.get_current_context().exit(1)
    else:
        found = seen(way, None)
        policy, _ = approved(way, (), Mode.LEARN, found)
        given = given or found.topology
    known = given or Topology()
    if target not in _TARGETS:
        _documents(policy, known, into, way.output, {} if paths else leases(way))
        return
    if enforced:
        policy = _as_enforced(policy)
    title, make = _TARGETS[target]
    made = make(policy, known, Names(label=label, trust_domain=trust_domain), egress=egress)
    if topology is None:
        made = replace(made, unsaid=(Unsaid(Effect.ASSUMED, _PORTS), *made.unsaid))
    _manifests(made, policy.revision, title, into, way.output)
    if strict and any(unsaid.effect in {Effect.WIDER, Effect.NARROWER} for unsaid in made.unsaid):
        click.get_current_context().exit(1)


def _as_enforced(policy: Policy) -> Policy:
    shut = {name: mode for name, mode in policy.modes.items() if mode is Mode.QUARANTINE}
    return Policy(policy.revision, policy.services, shut, Mode.ENFORCE)


def _manifests(made: Export, revision: int, title: str, into: Path | None, output: str) -> None:
    if output == "json":
        unsaid = [_unsaid(item) for item in made.unsaid]
        show_json({"manifests": list(made.manifests), "unsaid": unsaid})
        return
    text = write_export(made, revision, title)
    if into is None:
        click.echo(text, nl=False)
    else:
        write_file(into, text)
        click.echo(f"{plural(len(made.manifests), 'manifest')} in {clean(str(into))}", err=True)
    for line in unsaid_lines(made):
        click.echo(clean(line), err=True)


def _unsaid(item: Unsaid) -> dict[str, object]:
    rule = None if item.rule is None else {"source": str(item.rule.source), "port": item.rule.port}
    return {"effect": str(item.effect), "why": item.why, "service": str(item.service) if item.service else None, "rule": rule}


def _documents(policy: Policy, topology: Topology, into: Path | None, output: str, leases: Mapping[Held, Lease]) -> None:
    protocols = {name: {port.number: port.protocol for port in service.ports} for name, service in topology.services.items()}
    documents = documents_of(policy, protocols, leases)
    if into is None:
        text = write_documents(documents)
        if output == "json":
            show_json({"text": text})
        else:
            click.echo(text, nl=False)
        return
    if into.exists() and not into.is_dir():
        raise click.UsageError(f"--into: {into} is no folder; TrafficPolicy documents go into one file each")
    there = _update(into, policy, protocols) if into.is_dir() else set()
    into.mkdir(parents=True, exist_ok=True)
    for document in documents:
        if document.service not in there:
            file = into / file_name(document.service)
            if file.exists():
                raise click.UsageError(f"{file}: is there, and holds no document of {document.service}")
            write_file(file, write_documents([document]))
            click.echo(clean(str(file)))


def _update(into: Path, policy: Policy, protocols: dict[ServiceName, dict[int, str]]) -> set[ServiceName]:
    """Bring the documents of a folder up to the policy; returns the services that have one."""
    if not yaml_below(into):
        return set()
    there: set[ServiceName] = set()
    results = [(path, body, update(body, str(path), policy, protocols)) for path, body in yaml_files([into])]
    wrongs = [finding for _, _, result in results if not isinstance(result, Updated) for finding in result]
    if wrongs:
        show_findings(wrongs)
        click.get_current_context().exit(1)
    for path, body, result in results:
        assert isinstance(result, Updated)
        there.update(result.services)
        if result.text.encode() != body:
            write_file(path, result.text)
            click.echo(clean(str(path)))
    return there
