"""The two gRPC listeners: the mesh's, which asks for client certificates, and enrollment's, which cannot. Serves nothing itself.

Everything a peer may use up before it has proved anything is bounded here.
Options: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from controlplane.identity.authority import ServerIdentity
from controlplane.settings import Listen

#: What sidecars know the control plane by, whatever its address.
SERVER_NAME = "picket-controlplane"
SERVER_CERTIFICATE_LIFETIME = timedelta(days=1)
MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_ENROLLMENT_BYTES = 64 * 1024

_COMMON = (
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_metadata_size", 16 * 1024),
    # Nothing compressed is taken: a small message must not become a large one.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # a minute otherwise, whatever the line above says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
_MESH = (
    # Each connection holds buffers of this size: with 16 KiB a thousand sidecars take 10 MiB more.
    ("grpc.tsi.max_frame_size", 8 * 1024),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_connection_idle_ms", 600_000),
)
#: A peer without an identity gets half a minute: one call that is never finished must not keep others out.
_ENROLLMENT = (
    ("grpc.max_receive_message_length", MAX_ENROLLMENT_BYTES),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.max_connection_age_ms", 20_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.max_connection_idle_ms", 10_000),
)


class ListenError(Exception):
    """An address cannot be had; the message says why and what to do."""


def mesh_server() -> grpc.aio.Server:
    """A server for sidecars."""
    return grpc.aio.server(options=[*_COMMON, *_MESH])


def enrollment_server() -> grpc.aio.Server:
    """A server for those that have no certificate yet."""
    return grpc.aio.server(options=[*_COMMON, *_ENROLLMENT], maximum_concurrent_rpcs=256)


def bind(server: grpc.aio.Server, listen: Listen, credentials: grpc.ServerCredentials | None) -> str:
    """Take an address and say which it is, with its real port. Without credentials it is plaintext.

    Raises:
        ListenError: it cannot be had.
    """
    if listen.path:
        remove_stale_socket(Path(listen.path))
    try:
        if credentials is None:
            port = server.add_insecure_port(listen.target)
        else:
            port = server.add_secure_port(listen.target, credentials)
    except RuntimeError as error:
        raise ListenError(f"{listen.target}: cannot listen there; is another control plane running, or the port in use?") from error
    if not listen.path:
        return f"[{listen.host}]:{port}" if ":" in listen.host else f"{listen.host}:{port}"
    # With TLS whoever connects still has to prove an identity or hold a join token; without, the file's mode is all there is.
    Path(listen.path).chmod(0o600 if credentials is None else 0o666)
    return listen.target


def server_credentials(
    authority: ServerIdentity,
    names: Iterable[str],
    *,
    client_certificates: bool,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> grpc.ServerCredentials:
    """TLS with a certificate that is made anew at half its lifetime, and when the authority says that it should be.

    Connections that stand are not touched.
    """
    wanted = (SERVER_NAME, *names)
    made_at, made_by = clock(), authority.version

    def make() -> grpc.ServerCertificateConfiguration:
        nonlocal made_at, made_by
        made_at, made_by = clock(), authority.version
        key, chain = authority.issue_server(wanted, SERVER_CERTIFICATE_LIFETIME, made_at)
        roots = authority.bundle_pem if client_certificates else None
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake; nothing means what it has."""
        is_old = abs(clock() - made_at) >= SERVER_CERTIFICATE_LIFETIME / 2
        return make() if is_old or authority.version != made_by else None

    return grpc.dynamic_ssl_server_credentials(
        make(),
        fetch,  # type: ignore[arg-type]  # the published types forget that nothing may be returned
        require_client_authentication=client_certificates,
    )


def remove_stale_socket(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        ListenError: somebody does, or what is there is no socket.
    """
    try:
        if not path.is_socket():
            if path.exists():
                raise ListenError(f"{path}: a file that is no socket is there; choose another path")
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except TimeoutError:
        pass
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    except OSError as error:
        raise ListenError(f"{path}: cannot listen there: {error.strerror}") from error
    raise ListenError(f"{path}: another process listens there; stop it, or choose another path")
