"""Proofs of enforcement: who may try what is forbidden, and what follows from what came of it. Pure; knows no clock.

A proof is one harmless forbidden connection to one port of one sidecar, made by another sidecar that has no approved edge there.
It proves something only when the source was refused and the destination's own sidecar reported just that, under the same mark.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Denied, Request, evaluate
from controlplane.policy.rules import Mode, Policy
from controlplane.topology.model import Port, Service, ServiceName
from controlplane.topology.protocol import Handling, handling

#: What a probe of an HTTP port asks for, and how; no application is expected to have it.
PROBE_METHOD, PROBE_PATH = "HEAD", "/.well-known/picket-probe"
#: Modes in which an unlisted peer is dropped.
ENFORCING = frozenset({Mode.ENFORCE, Mode.QUARANTINE})
#: A source that has not answered within this time will not.
ANSWER_MS = 20_000
#: A denial that is not in the log within this time after the answer is not there.
LOG_MS = 30_000
#: A service with more ports and sidecars than this has the first of them tried.
MAX_TARGETS = 32
_MARK = re.compile(r"([0-9a-f]{32})\.probe\.picket\.invalid")


class Status(enum.StrEnum):
    """How far a proof is, or what came of it."""

    ASKED = "asked"  # waits for a sidecar that may try it
    TRYING = "trying"
    PROVEN = "proven"  # refused, and in the log
    FAILED = "failed"  # let through, or refused and not in the log
    NOT_TRIED = "not-tried"


class Answer(enum.StrEnum):
    """What the destination did, as the source's sidecar saw it."""

    NONE = ""
    REFUSED = "refused"  # a TLS alert, a 403, or closed without a byte
    PASSED = "passed"  # bytes of the application, or another HTTP status
    OPEN = "open"  # neither refused nor answered: the connection stayed open
    STRANGER = "stranger"  # something answered that is not the destination's sidecar
    UNREACHED = "unreached"


class Target(NamedTuple):
    """One port of one sidecar: what is proved at a time."""

    service: ServiceName
    port: int
    address: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One try. Times are Unix milliseconds.

    ``revision`` is the policy in force when it was asked for, ``source`` and ``instance`` who tries it, ``told`` what that one saw,
    ``violation`` the number of the destination's report and ``deny_id`` the name in it.
    """

    id: int
    target: Target
    revision: int
    actor: str
    created_ms: int
    status: Status = Status.ASKED
    source: str = ""
    instance: str = ""
    mark: str = ""
    tried_ms: int | None = None
    answer: Answer = Answer.NONE
    told: str = ""
    answered_ms: int | None = None
    violation: int | None = None
    deny_id: str = ""
    reason: str = ""
    ended_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in {Status.ASKED, Status.TRYING}


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a proof."""

    status: Status
    reason: str = ""


def server_name(mark: str) -> str:
    """The name that a probe asks for in its TLS handshake, by which both sides' reports of it are known."""
    return f"{mark}.probe.picket.invalid"


def mark_of(name: str) -> str | None:
    """The mark in such a name; ``None`` for any other. Anybody can write one: it counts only for the connection it was made for."""
    found = _MARK.fullmatch(name)
    return None if found is None else found[1]


def targets_of(service: Service) -> tuple[Target, ...]:
    """The ports of a service's sidecars; of several that lead to one target the first counts, as for the sidecar."""
    if not service.meshed:
        return ()
    ports = {port.target: port.number for port in reversed(service.ports)}
    found = [Target(service.name, number, address) for number in sorted(ports.values()) for address in service.endpoints]
    return tuple(found[:MAX_TARGETS])


def speaks_http(port: Port) -> bool:
    """Whether the probe of a port is a request; where it is none, the TLS handshake decides."""
    return handling(port.protocol) is not Handling.OPAQUE


def forbids(policy: Policy, source: WorkloadId, service: Service, port: int) -> bool:
    """Whether a workload's probe of a port has to be refused, and for no other reason than that nothing was approved."""
    declared = service.port(port)
    if declared is None or source == service.workload or policy.is_quarantined(source):
        return False
    if policy.mode(service.name) not in ENFORCING or any(rule.source == source for rule in policy.of(service.name).rules):
        return False
    http = speaks_http(declared)
    probe = Request(service.name, port, source, "", PROBE_METHOD if http else "", PROBE_PATH if http else "")
    return isinstance(evaluate(policy, probe), Denied)


def sources(
    policy: Policy, listening: Collection[tuple[WorkloadId, str]], service: Service, port: int
) -> Iterator[tuple[WorkloadId, str]]:
    """The sidecars (workload and instance) that may try a port, in a fixed order."""
    return (who for who in sorted(listening) if forbids(policy, who[0], service, port))


def judge(proof: Proof, now_ms: int, *, forbidden: bool, heard: bool = True) -> Ended | None:
    """What came of a proof that is being tried; ``None`` while that is not known.

    ``forbidden`` is whether its source still has no approved edge, and the service still drops who has none; ``heard`` whether the
    service's sidecars can report now.
    """
    since_ms = now_ms - (proof.tried_ms or now_ms)
    if not forbidden:
        return Ended(Status.NOT_TRIED, "the policy changed meanwhile")
    match proof.answer:
        case Answer.NONE:
            return Ended(Status.NOT_TRIED, f"{proof.source} gave no answer") if since_ms > ANSWER_MS else None
        case Answer.UNREACHED:
            return Ended(Status.NOT_TRIED, f"not reached: {proof.told}")
        case Answer.PASSED | Answer.STRANGER:
            return Ended(Status.FAILED, f"let through: {proof.told}")
        case Answer.REFUSED | Answer.OPEN:
            if proof.violation is not None:
                return Ended(Status.PROVEN)
    if now_ms - (proof.answered_ms or now_ms) <= LOG_MS:
        return None
    if proof.answer is Answer.OPEN:
        return Ended(Status.FAILED, f"let through: {proof.told}")
    if not heard:
        return Ended(Status.NOT_TRIED, f"refused ({proof.told}), and its sidecar is away: its reports wait")
    return Ended(Status.FAILED, f"refused ({proof.told}), but its sidecar reported no denial")
