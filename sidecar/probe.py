"""One forbidden connection, in a process of its own: dials a sidecar, and says what it did. Decides nothing, keeps nothing.

`python sidecar/probe.py` reads one JSON object from standard input (the fields of `Order`) and writes one to standard output,
{"outcome": text, "told": text}. It stands alone because Python's TLS would take a tenth of the agent's memory, which needs it
for a moment after a change. The key comes by the pipe: it is in no argument, environment or file on disk.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import tempfile
import time
from typing import Any, NamedTuple

CONNECT_SECONDS = 3.0
#: How long a peer that neither refuses nor answers is listened to. A loaded Envoy takes its time to look at a certificate.
LISTEN_SECONDS = 5.0
MAX_TOLD_CHARACTERS = 200
_MAX_KEY_BYTES = 1024 * 1024
#: OpenSSL's words for bytes that are no TLS at all.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "INVALID_ALERT"})


class Order(NamedTuple):
    """Where to, by what name, who has to be there (a SPIFFE ID), what to send (or nothing), and who asks."""

    address: str
    port: int
    server_name: str
    expected: str
    alpn: str
    request: str
    key_pem: str
    chain_pem: str
    bundle_pem: str


Seen = tuple[str, str]


def attempt(order: Order) -> Seen:
    """The outcome (`picket.v1.ProbeOutcome`, in lower case), and what was seen."""
    context = _context(order)
    try:
        raw = socket.create_connection((order.address, order.port), CONNECT_SECONDS)
    except OSError as error:
        return "unreached", _words(error)
    with raw:
        try:
            tls = context.wrap_socket(raw, server_hostname=order.server_name)
        except ssl.SSLCertVerificationError as error:
            return "stranger", f"it has no certificate of this mesh: {error.verify_message}"
        except ssl.SSLError as error:
            reason = error.reason or ""
            if "_ALERT_" in reason:
                return "refused", _alert(reason)
            return ("stranger", "it speaks no TLS") if reason in _NO_TLS else ("unreached", f"TLS: {reason or 'cut off'}")
        except OSError as error:
            return "unreached", f"TLS: {_words(error)}"
        with tls:
            names = _uri_names(tls)
            if names != [order.expected]:
                return "stranger", f"it is {', '.join(names) or 'nobody'}"
            return _listen(tls, order.request)


def _uri_names(tls: ssl.SSLSocket) -> list[str]:
    listed: Any = (tls.getpeercert() or {}).get("subjectAltName", ())
    return [value for kind, value in listed if kind == "URI"]


def _listen(tls: ssl.SSLSocket, request: str) -> Seen:
    """Say what there is to say, and wait for the answer. In TLS 1.3 a refusal comes after the handshake, as this side sees it."""
    said = b""
    until = time.monotonic() + LISTEN_SECONDS
    try:
        if request:
            tls.sendall(request.encode())
        while b"\r\n" not in said and len(said) < 4096:
            tls.settimeout(max(until - time.monotonic(), 0.001))
            part = tls.recv(4096)
            said += part
            if said and not request:
                return "passed", "the application's first bytes came"
            if not part:
                break
    except TimeoutError:
        return "open", f"the connection stayed open for {LISTEN_SECONDS:.0f} s"
    except ssl.SSLError as error:
        return "refused", _alert(error.reason or "")
    except OSError as error:
        return "refused", _words(error)
    if not said:
        return "refused", "closed without a byte"
    status = said.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
    if status[0][:5] == "HTTP/" and len(status) > 1:
        return "refused" if status[1] == "403" else "passed", f"HTTP {status[1][:3]}"
    return "passed", "bytes that are no HTTP came"


def _context(order: Order) -> ssl.SSLContext:
    """TLS as between sidecars. The peer's name is a URI, which the caller compares: Python compares host names alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([order.alpn])
    context.load_verify_locations(cadata=order.bundle_pem)
    pair = f"{order.key_pem}\n{order.chain_pem}".encode()
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("identity", os.MFD_CLOEXEC)
        with os.fdopen(handle, "wb", buffering=0) as memory:
            memory.write(pair)
            context.load_cert_chain(f"/proc/self/fd/{handle}")
    else:  # where there is no memory with a name, a file that only this user can read, for as long as it takes
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _alert(reason: str) -> str:
    _, alert, name = reason.partition("_ALERT_")
    return f"TLS alert: {name.lower().replace('_', ' ')}" if alert else f"TLS: {reason or 'cut off'}"


def _words(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__


def main() -> None:
    """Try what standard input says."""
    outcome, told = attempt(Order(**json.loads(sys.stdin.buffer.read(_MAX_KEY_BYTES))))
    json.dump({"outcome": outcome, "told": told[:MAX_TOLD_CHARACTERS]}, sys.stdout)


if __name__ == "__main__":
    main()
