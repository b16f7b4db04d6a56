"""Telemetry batches from bytes: their bounds, and whose they are. Pure; never stores, and never believes a batch's own claims.

The reporter is the authenticated peer; a batch that reports for another service is refused as a whole.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from controlplane.flows.model import Verdict
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import parse_deny_id
from controlplane.workflow.resolve import Observed
from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, INBOUND, OUTBOUND, WOULD_DENY, Batch, Observation

MAX_BATCH_BYTES = 1024 * 1024
MAX_OBSERVATIONS = 10_000
_VERDICTS = {ALLOWED: Verdict.ALLOWED, WOULD_DENY: Verdict.WOULD_DENY, DENIED: Verdict.DENIED}
_HEXADECIMAL = frozenset("0123456789abcdef")
_MAX_COUNT = 2**53
_MAX_MS = 253_402_300_800_000  # the year 10000


@dataclass(frozen=True, slots=True)
class BadBatch:
    """Why a batch is refused. ``forged`` when it claims what the reporter is not."""

    reason: str
    forged: bool = False


def read_batch(body: bytes) -> Batch | BadBatch:
    """The message in some bytes, with everything checked but its observations."""
    if len(body) > MAX_BATCH_BYTES:
        return BadBatch(f"a batch of {len(body)} bytes; at most {MAX_BATCH_BYTES} are read")
    batch = Batch()
    try:
        batch.ParseFromString(body)
    except DecodeError:
        return BadBatch("not a picket.v1.Batch")
    if len(batch.epoch) != 32 or not _HEXADECIMAL.issuperset(batch.epoch):
        return BadBatch("epoch: 32 hexadecimal digits are wanted")
    if not 1 <= batch.sequence < 2**63:
        return BadBatch("sequence: counts from 1")
    if not 0 < len(batch.instance) <= 128 or not batch.instance.isprintable():
        return BadBatch("instance: 1 to 128 characters, none of them a control character")
    if len(batch.observations) > MAX_OBSERVATIONS:
        return BadBatch(f"observations: {len(batch.observations)}, at most {MAX_OBSERVATIONS} fit a batch")
    if batch.lost >= _MAX_COUNT:
        return BadBatch("lost: not a count")
    return batch


def read_observations(messages: Sequence[Observation], reporter: WorkloadId, first_index: int) -> list[Observed] | BadBatch:
    """Observations as values; ``first_index`` is where in the batch they begin. A refusal says which field is wrong."""
    own = str(reporter)
    found: list[Observed] = []
    good_addresses, own_deny_ids = {""}, {""}  # a batch has few of them, many times over
    for index, seen in enumerate(messages, first_index):
        verdict = _VERDICTS.get(seen.verdict)
        if verdict is None:
            return BadBatch(f"observations[{index}].verdict: ALLOWED, WOULD_DENY or DENIED")
        inbound = seen.direction == INBOUND
        if not inbound and seen.direction != OUTBOUND:
            return BadBatch(f"observations[{index}].direction: INBOUND or OUTBOUND")
        if inbound and seen.service != own:
            return BadBatch(f"observations[{index}].service: {own} reports for {seen.service[:130]!r}", forged=True)
        observed = Observed(
            inbound, verdict, seen.port, seen.protocol, seen.count, seen.first_seen_ms, seen.last_seen_ms, seen.peer_id,
            seen.peer_address, seen.dialled_address, seen.method, seen.path, seen.host, seen.server_name, seen.deny_id, seen.reason,
        )  # fmt: skip
        reason = _wrong(observed)
        if reason:
            return BadBatch(f"observations[{index}].{reason}")
        if inbound and not (seen.peer_address or seen.peer_id):
            return BadBatch(f"observations[{index}].peer_address: who called from nowhere")
        for name, address in (("peer_address", seen.peer_address), ("dialled_address", seen.dialled_address)):
            if address not in good_addresses:
                if not _is_address(address):
                    return BadBatch(f"observations[{index}].{name}: {address[:80]!r} is no IP address")
                good_addresses.add(address)
        if seen.deny_id not in own_deny_ids:
            deny_id = parse_deny_id(seen.deny_id)
            if deny_id is None:
                return BadBatch(f"observations[{index}].deny_id: {seen.deny_id[:130]!r} is none")
            if str(deny_id.service) != own:
                return BadBatch(f"observations[{index}].deny_id: {own} reports {seen.deny_id[:130]!r}", forged=True)
            own_deny_ids.add(seen.deny_id)
        found.append(observed)
    return found


def _is_address(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, text)  # a tenth of the time, and most are of this kind
        return True
    except (OSError, ValueError):
        pass  # an address of IPv6, or none
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _wrong(seen: Observed) -> str:
    """Which field is out of its bounds; empty when none is."""
    if not 0 < seen.port < 65536:
        return "port: 1 to 65535"
    if seen.count >= _MAX_COUNT:
        return "count: not a count"
    if not 0 < seen.first_seen_ms <= seen.last_seen_ms < _MAX_MS:
        return "first_seen_ms, last_seen_ms: Unix milliseconds, in this order"
    for name, text, limit in (
        ("peer_id", seen.peer_id, 512),
        ("peer_address", seen.peer_address, 64),
        ("dialled_address", seen.dialled_address, 64),
        ("protocol", seen.protocol, 32),
        ("method", seen.method, 64),
        ("path", seen.path, 1024),
        ("host", seen.host, 255),
        ("server_name", seen.server_name, 255),
        ("deny_id", seen.deny_id, 256),
        ("reason", seen.reason, 256),
    ):
        if text and (len(text) > limit or not text.isprintable()):
            return f"{name}: longer than {limit} characters, or with control characters"
    return ""
