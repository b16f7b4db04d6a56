"""The lint rules: their names, how bad each is, and why. Names are stable: people write them into files to silence them."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.policy.findings import Finding, Place, Severity


@dataclass(frozen=True, slots=True)
class LintRule:
    """One kind of finding."""

    name: str
    severity: Severity
    about: str

    def found(self, place: Place, message: str, *, key: str = "", remedy: str = "") -> Finding:
        """A finding of this kind."""
        return Finding(self.name, self.severity, message, place, key, remedy)


INVALID = LintRule("invalid", Severity.ERROR, "The document does not read.")
OTHER_KIND = LintRule("other-kind", Severity.INFO, "The file holds objects of other kinds; they are left alone.")
DUPLICATE_DOCUMENT = LintRule("duplicate-document", Severity.ERROR, "Two documents are about the same service.")
SHADOWED_RULE = LintRule("shadowed-rule", Severity.WARNING, "Another rule of the document allows all that this one does.")
REPEATED_REQUEST = LintRule("repeated-request", Severity.INFO, "Another request of the same rule allows all that this one does.")
WIDE_NETWORK = LintRule("wide-network", Severity.WARNING, "A network so large that it stands for almost anybody.")
WIDE_PATH = LintRule("wide-path", Severity.WARNING, "A pattern that every path fits.")
WHOLE_PORT = LintRule("whole-port", Severity.INFO, "An HTTP or gRPC port is opened for every method and path.")
NEVER_MATCHES = LintRule("never-matches", Severity.ERROR, "No request can fit, as paths are normalised or as the port speaks.")
AMBIGUOUS_PATH = LintRule("ambiguous-path", Severity.WARNING, "A path that an application may read as another one.")
PLAINTEXT = LintRule("plaintext-to-mesh", Severity.WARNING, "Peers without identity may call a service that has a sidecar.")
PROTOCOL_MISMATCH = LintRule("protocol-mismatch", Severity.WARNING, "The document expects another protocol than is declared.")
UNKNOWN_SERVICE = LintRule("unknown-service", Severity.WARNING, "No service of this name is in the topology.")
UNKNOWN_WORKLOAD = LintRule("unknown-workload", Severity.WARNING, "No workload of this name is in the topology.")
UNKNOWN_PORT = LintRule("unknown-port", Severity.WARNING, "The service does not declare this port.")
EXPIRED_LEASE = LintRule("expired-lease", Severity.ERROR, "The lease of a rule is over.")
LEASE_ENDS = LintRule("lease-ends", Severity.INFO, "The lease of a rule ends soon.")
MISSING_OWNER = LintRule("missing-owner", Severity.WARNING, "Nobody answers for a rule.")
QUARANTINED = LintRule("quarantined-rules", Severity.INFO, "A service in quarantine has rules, which count only when it ends.")
CLOSED = LintRule("closed-service", Severity.INFO, "A service enforces, and nobody may call it.")
BARE_IGNORE = LintRule("bare-ignore", Severity.WARNING, "A finding is silenced without a reason.")
UNUSED_IGNORE = LintRule("unused-ignore", Severity.INFO, "A comment silences what is not found here.")

LINT_RULES = (
    INVALID, OTHER_KIND, DUPLICATE_DOCUMENT, SHADOWED_RULE, REPEATED_REQUEST, WIDE_NETWORK, WIDE_PATH, WHOLE_PORT, NEVER_MATCHES,
    AMBIGUOUS_PATH, PLAINTEXT, PROTOCOL_MISMATCH, UNKNOWN_SERVICE, UNKNOWN_WORKLOAD, UNKNOWN_PORT, EXPIRED_LEASE, LEASE_ENDS,
    MISSING_OWNER, QUARANTINED, CLOSED, BARE_IGNORE, UNUSED_IGNORE,
)  # fmt: skip
