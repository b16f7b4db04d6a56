"""One HTTP call to an address that an administrator set: TLS or this machine alone, no redirects, bounded. Keeps no connection."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1 << 20


class CallError(Exception):
    """Nobody answers there as they should. The message has the host alone: an address may hold a secret."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    status: int
    body: bytes


def call(address: str, method: str, body: bytes | None, headers: Mapping[str, str], ca_file: Path | None = None) -> Answered:
    """Ask once.

    Raises:
        CallError: it does not answer, or with too much; or ``ca_file`` cannot be read.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.netloc}"
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    connection = _connection(parts.scheme, str(parts.hostname), parts.port, ca_file)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise CallError(f"{shown} does not answer: {getattr(error, 'strerror', None) or type(error).__name__}") from error
    finally:
        connection.close()
    if len(content) > MAX_ANSWER_BYTES:
        raise CallError(f"{shown} answers with more than {MAX_ANSWER_BYTES} bytes")
    return Answered(response.status, content)


def is_safe(address: str) -> bool:
    """Whether an address is HTTP to where nobody between can read or change what is sent: TLS, or this machine alone."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises when it is no port
    except ValueError:
        return False
    if not address.isprintable() or not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _connection(scheme: str, host: str, port: int | None, ca_file: Path | None) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=tls(ca_file))


def tls(ca_file: Path | None) -> ssl.SSLContext:
    """What a server's certificate is checked against: that authority, or those of the system.

    Raises:
        CallError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise CallError(f"{ca_file}: cannot be read: {error.strerror}") from error
