"""Online Boutique, its known edges as an approved policy that is enforced everywhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import controlplane.demo
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.document import TopologyDocument, load_topology
from controlplane.topology.model import ServiceName

#: Allow-lists that people wrote by hand for this application, as edges; each file names its source.
DATA = Path(__file__).parents[3] / "data" / "policies"


def _policy(document: TopologyDocument) -> Policy:
    rules: dict[ServiceName, list[Rule]] = {}
    for edge in document.edges:
        http = tuple(HttpMatch(request.method, request.path) for request in edge.requests)
        rules.setdefault(edge.destination, []).append(Rule(WorkloadId(*edge.source), edge.port, http))
    services = {name: ServicePolicy(name, tuple(listed), 1) for name, listed in rules.items()}
    return Policy(1, services, {}, Mode.ENFORCE)


_DOCUMENT = load_topology(Path(str(files(controlplane.demo))) / "topologies" / "online-boutique.yaml")
TOPOLOGY = _DOCUMENT.topology
POLICY = _policy(_DOCUMENT)
