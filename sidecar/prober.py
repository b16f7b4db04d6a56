"""Tries forbidden connections for the control plane, one at a time, and says what came of each. Dials nobody else's choice.

It is how enforcement is proved: with this sidecar's own identity, to the inbound port of another sidecar, with nothing said to
anybody who is not that sidecar. What it may not try it answers as not reached, with the reason.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import msgspec

from protos.picket.v1 import sidecar_pb2
from protos.picket.v1.sidecar_pb2 import Probe, ProbeAnswer
from sidecar.channel import CallError, Metadata, open_stream
from sidecar.identity import Identity
from sidecar.join import WORKLOAD, Join

_METHOD = "/picket.v1.Probes/Take"
#: More than this a minute is not to prove anything: a control plane asks for one a second at most.
MAX_A_MINUTE = 90
#: The program has time limits of its own; this is for one that hangs.
PROGRAM_SECONDS = 15.0
#: No application is expected to have it, and a HEAD has no body.
REQUEST = "HEAD /.well-known/picket-probe HTTP/1.1\r\nhost: probe.picket.invalid\r\nconnection: close\r\n\r\n"
_MARK = re.compile(r"[0-9a-f]{32}")
_ALPN = frozenset({"picket", "picket-http"})
_OUTCOMES = {
    "refused": sidecar_pb2.REFUSED, "passed": sidecar_pb2.PASSED, "open": sidecar_pb2.OPEN, "stranger": sidecar_pb2.STRANGER,
    "unreached": sidecar_pb2.UNREACHED,
}  # fmt: skip
_log = logging.getLogger("picket.prober")


class Seen(msgspec.Struct, frozen=True):
    """What the program wrote."""

    outcome: str
    told: str


Attempt = Callable[[Probe, Join, Identity], Awaitable[Seen]]


class Prober:
    """Answers the control plane's probes."""

    def __init__(self, join: Join, instance: str, *, loopback: bool, attempt: Attempt | None = None) -> None:
        """``loopback`` is whether sidecars of the mesh listen there, as with loopback listeners they do."""
        self._join = join
        self._instance = instance
        self._loopback = loopback
        self._attempt = attempt or attempt_apart
        self._lately: deque[float] = deque(maxlen=MAX_A_MINUTE)

    async def stream(self, opened: grpc.aio.Channel, metadata: Metadata | None, identity: Identity) -> str:
        """One stream; it ends with an error only. A control plane that gives no probes is not asked again on this channel.

        Raises:
            CallError: the control plane went away.
        """
        stream = open_stream(opened, _METHOD, Probe, metadata=metadata, serialise=ProbeAnswer.SerializeToString)
        try:
            await stream.send(ProbeAnswer(instance=self._instance))
            while True:
                probe = await stream.receive()
                seen = await self._answer(probe, identity)
                outcome = _OUTCOMES.get(seen.outcome, sidecar_pb2.UNREACHED)
                await stream.send(ProbeAnswer(mark=probe.mark[:32], outcome=outcome, told=seen.told))
        except CallError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            await asyncio.Event().wait()
            raise
        finally:
            stream.close()

    async def _answer(self, probe: Probe, identity: Identity) -> Seen:
        reason = refusal(probe, self._join.workload, loopback=self._loopback) or self._too_often(time.monotonic())
        if reason:
            _log.error("probe not made reason=%r", reason)
            return Seen("unreached", reason)
        seen = await self._attempt(probe, self._join, identity)
        _log.info(
            "probed workload=%s address=%s port=%d outcome=%s told=%r",
            probe.workload, probe.address, probe.port, seen.outcome, seen.told,
        )  # fmt: skip
        return seen

    def _too_often(self, now: float) -> str:
        if len(self._lately) == MAX_A_MINUTE and now - self._lately[0] < 60:
            return f"this sidecar was asked more than {MAX_A_MINUTE} times within a minute"
        self._lately.append(now)
        return ""


def refusal(probe: Probe, own: str, *, loopback: bool) -> str:
    """Why a sidecar of the workload ``own`` must not try this; empty when it may."""
    if not _MARK.fullmatch(probe.mark):
        return "mark: 32 hexadecimal digits are wanted"
    if not WORKLOAD.fullmatch(probe.workload) or probe.workload == own:
        return "workload: another one of this mesh is wanted"
    if probe.alpn not in _ALPN:
        return "alpn: none of this mesh"
    if not 0 < probe.port < 65536:
        return "port: 1 to 65535"
    try:
        address = ipaddress.ip_address(probe.address)
    except ValueError:
        return "address: an IP address is wanted"
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address  # the kernel dials that one
    if address.is_multicast or address.is_unspecified or address.is_link_local or (address.is_loopback and not loopback):
        return "address: no sidecar of this mesh can be there"
    return ""


async def attempt_apart(probe: Probe, join: Join, identity: Identity) -> Seen:
    """Try it in a process of its own (`sidecar.probe`), which ends with whoever waits for it."""
    namespace, account = probe.workload.split("/")
    order = {
        "address": probe.address, "port": probe.port, "server_name": f"{probe.mark}.probe.picket.invalid",
        "expected": f"spiffe://{join.trust_domain}/ns/{namespace}/sa/{account}", "alpn": probe.alpn,
        "request": REQUEST if probe.http else "", "key_pem": identity.key_pem, "chain_pem": identity.chain_pem,
        "bundle_pem": identity.bundle_pem or join.bundle_pem,
    }  # fmt: skip
    program = Path(__file__).with_name("probe.py")
    # -P: the program's own directory must not hide other packages' names.
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-S", str(program),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            written, failed = await child.communicate(msgspec.json.encode(order))
        return msgspec.json.decode(written, type=Seen)
    except TimeoutError:
        return Seen("unreached", "the probe did not end")
    except msgspec.DecodeError:
        # A traceback's last line; it holds no key, for nothing there puts an order into words.
        return Seen("unreached", "the probe failed: " + failed.decode("utf-8", "replace").strip().rpartition("\n")[2][-150:])
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
