"""A service's allow-list as a file: the project's own document, or manifests of other tools. Shows nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType

import flask

from controlplane.api.problems import problem
from controlplane.policy.exports.cilium import cilium_policies
from controlplane.policy.exports.istio import authorization_policies
from controlplane.policy.exports.manifests import write_export
from controlplane.policy.exports.model import Export, Names
from controlplane.policy.exports.networkpolicy import network_policies
from controlplane.policy.rules import Mode, Policy
from controlplane.policy.traffic_documents import documents_of
from controlplane.policy.traffic_text import write_documents
from controlplane.topology.model import Service
from controlplane.web.guard import Console
from controlplane.web.services import service_at

#: By the word in the address: what it is, and what makes it.
TARGETS: Mapping[str, tuple[str, Callable[..., Export]]] = MappingProxyType(
    {
        "networkpolicy": ("Kubernetes NetworkPolicy", network_policies),
        "cilium": ("CiliumNetworkPolicy", cilium_policies),
        "istio": ("Istio AuthorizationPolicy", authorization_policies),
    }
)


def blueprint(console: Console) -> flask.Blueprint:
    """The files."""
    routes = flask.Blueprint("documents", __name__)
    api = console.api

    @routes.get("/services/<namespace>/<name>/policy.yaml")
    def own(namespace: str, name: str) -> flask.Response:
        service = service_at(console, namespace, name)
        ports = {service.name: {port.number: port.protocol for port in service.ports}}
        leases = {held.held: held.lease for held in api.store.leases()}
        return _file(write_documents(documents_of(_only(service, enforced=False), ports, leases)), service, "")

    @routes.get("/services/<namespace>/<name>/<target>.yaml")
    def manifests(namespace: str, name: str, target: str) -> flask.Response:
        service = service_at(console, namespace, name)
        if target not in TARGETS:
            detail, remedy = f"there is no export to {target[:40]}", f"take one of {', '.join(TARGETS)}"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=remedy)
        title, make = TARGETS[target]
        policy = _only(service, enforced=True)
        return _file(write_export(make(policy, api.publisher.topology, Names()), policy.revision, title), service, f"-{target}")

    def _only(service: Service, *, enforced: bool) -> Policy:
        """The policy with no other service's rules and modes; this one's as it is, or as it will be once it is enforced."""
        policy = api.publisher.policy
        mode = policy.mode(service.name)
        modes = {service.name: Mode.ENFORCE if enforced and mode is not Mode.QUARANTINE else mode}
        return replace(policy, services={service.name: policy.of(service.name)}, modes=modes)

    return routes


def _file(text: str, service: Service, kind: str) -> flask.Response:
    response = flask.Response(text, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = f'inline; filename="{service.name.namespace}.{service.name.name}{kind}.yaml"'
    return response
