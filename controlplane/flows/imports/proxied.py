"""What one entry of an Envoy's access log tells, whatever its format: who called whom, by the names that Istio gives clusters.

Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace

from controlplane.flows.imports.model import (
    End,
    Imported,
    Record,
    Unused,
    checked,
    http_protocol,
    split_address,
    split_host,
    without_query,
)
from controlplane.flows.imports.sightings import Pairs
from controlplane.flows.model import Verdict

#: ``outbound_.8000_._.httpbin.foo.svc.cluster.local``: what a client's sidecar asks for in the handshake.
_MESH_SNI = re.compile(r"outbound_\.([0-9]{1,5})_\.[^_]*_\.(.+)\Z")
_DENIED = "rbac_access_denied"


@dataclass(frozen=True, slots=True)
class Entry:
    """The fields that are read; empty where the log has none or says ``-``. Addresses are ``IP:port``."""

    at_ms: int
    method: str
    path: str
    version: str
    cluster: str
    upstream: str
    local: str
    remote: str
    authority: str = ""
    server_name: str = ""
    request_id: str = ""
    details: str = ""


def time_ms(text: str) -> int:
    """A moment such as ``2020-11-25T21:26:18.409Z`` in Unix milliseconds; 0 for another text."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return 0
    return 0 if moment.tzinfo is None else int(moment.timestamp() * 1000)


class Reading:
    """Turns entries into flows. ``reporter`` is whose log it is, where that is known; ``peer`` whom TLS proved to call."""

    def __init__(self, pairs: Pairs | None = None) -> None:
        self._pairs = pairs or Pairs()

    def record(self, entry: Entry, reporter: End | None = None, peer: End | None = None) -> Record:
        """What an entry tells."""
        found = _interpret(entry, reporter, peer)
        if isinstance(found, Unused):
            return found
        found = checked(found)
        if isinstance(found, Imported) and entry.request_id and found.destination.host:
            call = (entry.request_id, found.destination.host, found.port, found.method, found.path)
            if self._pairs.is_second(call, inbound=found.inbound):
                return Unused("the other side of a call that is counted")
        return found


def _interpret(entry: Entry, reporter: End | None, peer: End | None) -> Imported | Unused:
    kind, _, rest = entry.cluster.partition("|")
    denied = entry.details.startswith(_DENIED)
    if kind == "inbound" or entry.cluster.startswith("InboundPassthroughCluster") or (denied and not entry.cluster):
        return _inbound(entry, rest, reporter, peer, denied=denied)
    if kind == "outbound":
        return _outbound(entry, rest, reporter)
    if entry.cluster in {"PassthroughCluster", "BlackHoleCluster"}:
        return _elsewhere(entry, reporter, blocked=entry.cluster == "BlackHoleCluster")
    if not entry.cluster:
        return Unused("answered by the proxy itself")
    return _plain(entry, reporter)


def _flow(entry: Entry, source: End, destination: End, port: int, *, inbound: bool, denied: bool = False) -> Imported:
    method = entry.method
    path = without_query(entry.path) if method else ""
    name = entry.server_name
    protocol = http_protocol(entry.version, method, path) if method else "tls" if name and not _MESH_SNI.match(name) else "tcp"
    verdict, reason = (Verdict.DENIED, entry.details) if denied else (Verdict.ALLOWED, "")
    return Imported(source, destination, port, protocol, verdict, inbound, entry.at_ms, method, path, reason)


def _inbound(entry: Entry, rest: str, reporter: End | None, peer: End | None, *, denied: bool) -> Imported | Unused:
    """``inbound|PORT|NAME|HOST``, in newer versions without name and host."""
    port_text, _, named = rest.partition("|")
    host = named.rpartition("|")[2]
    address, port = split_address(entry.local)
    if port_text.isascii() and port_text.isdigit():
        port = int(port_text)
    asked = _MESH_SNI.match(entry.server_name)
    if asked is not None:
        port, host = int(asked[1]), asked[2]
    own = reporter or End()
    destination = replace(own, address=address or own.address, host=host.lower() or own.host)
    source, _ = split_address(entry.remote)
    return _flow(entry, replace(peer or End(), address=source), destination, port, inbound=True, denied=denied)


def _outbound(entry: Entry, rest: str, reporter: End | None) -> Imported | Unused:
    """``outbound|PORT|SUBSET|HOST``."""
    port, _, named = rest.partition("|")
    host = named.partition("|")[2]
    if not (port.isascii() and port.isdigit() and host):
        return Unused("a cluster of another form")
    address, _ = split_address(entry.upstream)
    return _flow(entry, _own(entry, reporter), End(address=address, host=host.lower()), int(port), inbound=False)


def _own(entry: Entry, reporter: End | None) -> End:
    """Whose log it is: a sidecar's own application is who calls it."""
    address, _ = split_address(entry.remote)
    return reporter if reporter is not None else End(address=address)


def _elsewhere(entry: Entry, reporter: End | None, *, blocked: bool) -> Imported | Unused:
    """A host outside the mesh, passed through or blocked."""
    address, port = split_address(entry.local)
    host = entry.server_name or split_host(entry.authority)[0]
    denied = replace(entry, details=entry.details or "BlackHoleCluster") if blocked else entry
    return _flow(denied, _own(entry, reporter), End(address=address, host=host.lower()), port, inbound=False, denied=blocked)


def _plain(entry: Entry, reporter: End | None) -> Imported | Unused:
    """A cluster of somebody's own naming: the host that was asked for is the service."""
    address, port = split_address(entry.upstream)
    if not address:
        return Unused("no upstream address")
    host = split_host(entry.authority)[0]
    return _flow(entry, _own(entry, reporter), End(address=address, host=host), port, inbound=False)
