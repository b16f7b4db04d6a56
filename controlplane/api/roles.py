"""The least role that each endpoint asks for. An endpoint that is not in the table asks for admin; a test holds it complete.

An endpoint whose need depends on its body stands here with the least of them and asks for more by `access.require`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.policy.roles import Role

#: By Flask endpoint ("blueprint.function").
LEAST: Mapping[str, Role] = MappingProxyType(
    {
        "health.live": Role.VIEWER,
        "health.ready": Role.VIEWER,
        "health.metrics": Role.VIEWER,
        "openapi.show": Role.VIEWER,
        "map.show": Role.VIEWER,
        "map.draw": Role.VIEWER,
        "preview.in_force": Role.VIEWER,
        "preview.of_proposal": Role.VIEWER,
        "explain.show": Role.VIEWER,
        "asks.several": Role.VIEWER,
        "asks.ask": Role.DEVELOPER,
        "leases.several": Role.VIEWER,
        "leases.renew": Role.APPROVER,
        "replay.in_force": Role.VIEWER,
        "replay.of_files": Role.DEVELOPER,  # whoever writes such files
        "replay.of_proposal": Role.VIEWER,
        "replay.of_revision": Role.VIEWER,
        "parity.show": Role.VIEWER,
        "readiness.show": Role.VIEWER,
        "policy.active": Role.VIEWER,
        "policy.objects": Role.VIEWER,
        "policy.several": Role.VIEWER,
        "policy.one": Role.VIEWER,
        "policy.differences": Role.VIEWER,
        "sidecars.several": Role.VIEWER,
        "sidecars.missing": Role.VIEWER,
        "sidecars.config": Role.VIEWER,
        "violations.several": Role.VIEWER,
        "violations.count": Role.VIEWER,
        "violations.by_time": Role.VIEWER,
        "violations.one": Role.VIEWER,
        "violations.export": Role.VIEWER,
        "incidents.several": Role.VIEWER,
        "incidents.one": Role.VIEWER,
        "incidents.assign": Role.RESPONDER,
        "incidents.close": Role.RESPONDER,
        "incidents.reopen": Role.RESPONDER,
        "incidents.note": Role.RESPONDER,
        "authority.show": Role.VIEWER,
        "authority.rotate": Role.ADMIN,
        "audit.several": Role.VIEWER,
        "sinks.several": Role.VIEWER,
        "audit.verify": Role.VIEWER,
        "policy.rollback": Role.APPROVER,
        "applying.apply": Role.APPROVER,
        "break-glass.several": Role.VIEWER,
        "break-glass.begin": Role.RESPONDER,
        "break-glass.end": Role.RESPONDER,
        "imports.take": Role.ADMIN,
        "users.several": Role.ADMIN,
        "users.create": Role.ADMIN,
        "users.change": Role.ADMIN,
        "users.password": Role.ADMIN,
        "access-tokens.several": Role.ADMIN,
        "access-tokens.create": Role.ADMIN,
        "access-tokens.revoke": Role.ADMIN,
        "users.revoke": Role.ADMIN,
        "proposals.several": Role.VIEWER,
        "proposals.one": Role.VIEWER,
        "proposals.approve": Role.APPROVER,
        "proposals.reject": Role.APPROVER,
        "proposals.comment": Role.DEVELOPER,
        "owners.show": Role.VIEWER,
        "modes.show": Role.VIEWER,
        "modes.release": Role.RESPONDER,
        "modes.change": Role.RESPONDER,  # other modes than quarantine: approver
        "rollouts.several": Role.VIEWER,
        "rollouts.start": Role.APPROVER,
        "rollouts.one": Role.VIEWER,
        "rollouts.pause": Role.RESPONDER,
        "rollouts.resume": Role.APPROVER,
        "rollouts.stop": Role.APPROVER,
        "rollouts.roll_back": Role.RESPONDER,
        "proofs.several": Role.VIEWER,
        "proofs.ask": Role.RESPONDER,
        "tokens.create": Role.ADMIN,
    }
)


#: Endpoints that change something and may be called by whoever has a role in some namespaces alone: what they lead to is asked by
#: `workflow.scopes` whether it stays within those. All others ask for a role in the whole mesh.
BY_NAMESPACE = frozenset(
    {
        "applying.apply", "asks.ask", "break-glass.begin", "break-glass.end", "incidents.assign", "incidents.close",
        "incidents.note", "incidents.reopen", "leases.renew", "modes.change", "modes.release", "policy.rollback", "proofs.ask",
        "proposals.approve", "proposals.comment", "proposals.reject", "replay.of_files", "rollouts.pause", "rollouts.resume",
        "rollouts.roll_back", "rollouts.start", "rollouts.stop",
    }
)  # fmt: skip


def least(endpoint: str) -> Role:
    """The role that an endpoint asks for; admin where none was declared."""
    return LEAST.get(endpoint, Role.ADMIN)
