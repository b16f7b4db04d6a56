"""What it takes to join, mostly from a join file: where the control plane is, whom to believe there, who this sidecar is to become.

It carries a one-time token and never a private key: nothing secret is an option, because options can be read in the process list.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import msgspec

MAX_JOIN_BYTES = 256 * 1024
#: sun_path of unix(7), without its closing zero.
MAX_SOCKET_PATH_BYTES = 107
WORKLOAD = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9._-]{1,63}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,63}")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


class SettingsError(ValueError):
    """An option or a join file that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class WorkloadApiAddress:
    """Where an identity is had that is not Picket's own: gRPC's target, and which of several that are this workload."""

    target: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Join:
    """Where the control plane is, whom to believe there, and who this sidecar is to become.

    ``control_plane`` (mTLS) and ``enrollment`` (server TLS) are ``host:port`` or ``unix:/path``. ``bundle_pem`` holds the
    roots that sign the control plane's certificate, which must be valid for ``server_name``. A pod's sidecar has a ``token_file``
    in place of the token, and the ``bundle_file`` that the roots come from. With a ``workload_api`` there is neither, nor an
    ``enrollment``: identity and roots come from there.
    """

    control_plane: str
    enrollment: str
    trust_domain: str
    workload: str
    token: str = field(repr=False)
    bundle_pem: str = field(repr=False)
    server_name: str
    insecure: bool
    token_file: Path | None = None
    bundle_file: Path | None = None
    workload_api: WorkloadApiAddress | None = None

    @property
    def spiffe_id(self) -> str:
        """The identity that this sidecar expects to be given."""
        namespace, account = self.workload.split("/")
        return f"spiffe://{self.trust_domain}/ns/{namespace}/sa/{account}"


class _JoinFile(msgspec.Struct, forbid_unknown_fields=False):
    control_plane: str
    enrollment: str
    trust_domain: str
    workload: str
    token: str = ""
    bundle_pem: str = ""
    server_name: str = "picket-controlplane"
    insecure: bool = False


def read_join(path: Path) -> tuple[Join, str]:
    """The join file, and a warning about its permissions (empty when there is nothing to say).

    Raises:
        SettingsError: missing, too large, not JSON or with a field that cannot be used.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            body = file.read(MAX_JOIN_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"--join: {path}: {error.strerror}; make a join file with `picket token`") from error
    if len(body) > MAX_JOIN_BYTES:
        raise SettingsError(f"--join: {path}: larger than {MAX_JOIN_BYTES} bytes; this is not a join file")
    try:
        read = msgspec.json.decode(body, type=_JoinFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--join: {path}: not a join file: {error}") from error
    join = Join(
        control_plane=read.control_plane,
        enrollment=read.enrollment,
        trust_domain=read.trust_domain,
        workload=read.workload,
        token=read.token,
        bundle_pem=read.bundle_pem,
        server_name=read.server_name,
        insecure=read.insecure,
    )
    check_join(join, f"--join: {path}")
    warning = f"{path} can be read by others (mode {mode:04o}) and holds a token; chmod 600 it" if mode & 0o077 else ""
    return join, warning


def check_join(join: Join, where: str) -> None:
    """See that everything in it can be used; ``where`` is what errors begin with. Raises `SettingsError`."""
    check_target(join.control_plane, f"{where}: control_plane")
    if join.workload_api is None:
        check_target(join.enrollment, f"{where}: enrollment")
    if not WORKLOAD.fullmatch(join.workload):
        raise SettingsError(f"{where}: workload: {join.workload[:130]!r} is not namespace/account")
    if not _TRUST_DOMAIN.fullmatch(join.trust_domain):
        raise SettingsError(f"{where}: trust_domain: lower-case letters, digits, dots, dashes and underscores")
    if len(join.token) > 256 or not join.token.isprintable():
        raise SettingsError(f"{where}: token: at most 256 printable characters")
    if not 0 < len(join.server_name) <= 253 or not join.server_name.isprintable():
        raise SettingsError(f"{where}: server_name: 1 to 253 characters")


def check_target(target: str, where: str) -> None:
    """See that a target can be connected to.

    Raises:
        SettingsError: neither ``host:port`` nor ``unix:/path``.
    """
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        if not path.startswith("/") or len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            raise SettingsError(
                f"{where}: {target[:200]!r}: an absolute path of at most {MAX_SOCKET_PATH_BYTES} bytes is wanted after unix:"
            )
        return
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise SettingsError(f"{where}: {target[:200]!r} is not host:port or unix:/path")


def is_local(target: str) -> bool:
    """Whether a target cannot leave this machine."""
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
