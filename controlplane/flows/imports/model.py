"""What a record of another tool's log tells: a flow between two ends, or why it is not used. Values only.

A log may hold anything: what does not fit its bounds is not used, never cut.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane.flows.model import Verdict

MAX_PATH_CHARACTERS = 1024
MAX_NAME_CHARACTERS = 253
_LATEST_MS = 253_402_300_800_000  # the year 10000


@dataclass(frozen=True, slots=True)
class End:
    """What a record says of one end. Any of it may be empty; which service it is, others find out.

    ``account`` is the service account, ``app`` what labels call it, ``workload`` the deployment or what is left of the pod's
    name without its generated parts, ``host`` the name by which it was called.
    """

    namespace: str = ""
    account: str = ""
    app: str = ""
    workload: str = ""
    address: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """One use of an edge. ``port`` is the one that was called, ``at_ms`` Unix milliseconds, ``inbound`` as its reporter saw it."""

    source: End
    destination: End
    port: int
    protocol: str
    verdict: Verdict
    inbound: bool
    at_ms: int
    method: str = ""
    path: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unused:
    """A record that is no flow, or one that is counted already. ``reason`` is one of few texts, so that it can be counted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The log itself says that so many records are missing."""

    count: int


Record = Imported | Unused | Lost
#: Turns a line (without its end) into what it tells: nothing only for a line that is not a record at all, such as a header.
Parser = Callable[[bytes], Iterable[Record]]


def checked(found: Imported) -> Imported | Unused:
    """The flow, when everything in it is within its bounds."""
    if not 0 < found.port < 65536:
        return Unused("no port")
    if not 0 < found.at_ms < _LATEST_MS:
        return Unused("no time")
    if not (_known(found.source) and _known(found.destination)):
        return Unused("an end is not told")
    if len(found.path) > MAX_PATH_CHARACTERS or len(found.method) > 64 or len(found.protocol) > 32:
        return Unused("a path, method or protocol that is too long")
    together = "".join((found.path, found.method, found.protocol, *_texts(found.source), *_texts(found.destination)))
    if not (together.isprintable() and together.isascii()):
        return Unused("a name with characters that names do not have")
    return found


def _texts(end: End) -> tuple[str, ...]:
    return (end.namespace, end.account, end.app, end.workload, end.address, end.host)


def _known(end: End) -> bool:
    if max(map(len, _texts(end))) > MAX_NAME_CHARACTERS:
        return False
    return bool(end.address or end.host or (end.namespace and (end.account or end.app or end.workload)))


#: What Kubernetes appends: the hash of a replica set and of a pod, a pod's alone, or a number.
#: Source: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/rand/rand.go
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_GENERATED = re.compile(rf"-(?:[0-9a-z]{{6,10}}-{_RANDOM}{{5}}|{_RANDOM}{{5}}|[0-9]{{1,5}})\Z")


def workload_of_pod(pod: str) -> str:
    """A pod's name without what was generated."""
    return _GENERATED.sub("", pod)


_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#: Nearly every address in a log, and ten times faster than to build one.
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}\Z")


def split_address(text: str) -> tuple[str, int]:
    """An address and port such as ``10.0.0.1:80`` or ``[::1]:80``; empty and 0 for another text."""
    address, _, port = text.rpartition(":")
    if not _IPV4.match(address):
        try:
            address = str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]")))
        except ValueError:
            return "", 0
    return address, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0


def split_host(text: str) -> tuple[str, int]:
    """A host and port such as ``cart:70``; the port 0 when there is none, the host empty when it is an address."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5):
        host, port = text, "0"
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return host.lower().rstrip("."), int(port)
    return "", int(port)


def without_query(path: str) -> str:
    """A path without its query and fragment."""
    return path.partition("?")[0].partition("#")[0]


_GRPC = re.compile(r"/[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+/[A-Za-z_][A-Za-z0-9_]*\Z")


def http_protocol(version: str, method: str, path: str) -> str:
    """``grpc`` for what can hardly be anything else, ``http`` for the rest: logs do not tell."""
    return "grpc" if version.startswith("HTTP/2") and method == "POST" and _GRPC.match(path) else "http"
