"""What a sidecar is told at its start, checked, and the layout of its state directory. Never reads a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.appprobes import Probe, read_probes
from sidecar.join import MAX_SOCKET_PATH_BYTES, Join, SettingsError, check_target, is_local

#: The user and group whose traffic is not captured: Envoy's own, and the agent's.
PROXY_ID = 1337
CAPTURES = ("redirect", "explicit")
#: Who makes the rules of the redirect: the agent itself, or `picket-sidecar init` before it.
REDIRECT_BY = ("agent", "init")
#: Whose identity the sidecar has: Picket's own authority's, or the SPIFFE Workload API's (SPIRE's).
IDENTITIES = ("picket", "workload-api")
#: What becomes of the application's datagrams, which Envoy never sees: all pass, or only DNS does.
OUTBOUND_UDP = ("pass", "dns")
_INSTANCE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: A digest, alone or behind the name of the image that it pins.
_IMAGE = re.compile(r"(?:[^\s@]{1,512}@)?(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The files below the state directory. Envoy may use only ``envoy``, its working directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held as long as the agent runs."""
        return self.root / "agent.lock"

    @property
    def identity(self) -> Path:
        """Key, certificate chain and trust bundle."""
        return self.root / "identity.json"

    @property
    def last_good(self) -> Path:
        """The configuration that Envoy accepted last."""
        return self.root / "last-good"

    @property
    def spool(self) -> Path:
        """Reports that wait for their acknowledgement."""
        return self.root / "spool"

    @property
    def envoy(self) -> Path:
        """Envoy's working directory: its access log and sockets."""
        return self.root / "envoy"

    @property
    def access_log(self) -> Path:
        """What Envoy writes a line to for each request or connection."""
        return self.envoy / "access.log"

    @property
    def envoy_output(self) -> Path:
        """Envoy's own words; the agent holds the file, so it is not in Envoy's reach."""
        return self.root / "envoy.log"

    @property
    def agent_socket(self) -> Path:
        """Where Envoy finds the agent."""
        return self.envoy / "agent.sock"

    @property
    def admin_socket(self) -> Path:
        """Where the agent finds Envoy's admin interface."""
        return self.envoy / "admin.sock"

    def check(self) -> None:
        """See that the sockets' paths fit the system.

        Raises:
            SettingsError: they are too long.
        """
        longest = max(len(os.fsencode(path)) for path in (self.agent_socket, self.admin_socket))
        if longest > MAX_SOCKET_PATH_BYTES:
            spare = MAX_SOCKET_PATH_BYTES - (longest - len(os.fsencode(self.root)))
            raise SettingsError(
                f"--state: {self.root}: sockets in it would have paths of {longest} bytes, and the system allows "
                f"{MAX_SOCKET_PATH_BYTES}; choose a directory whose path has at most {spare}"
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `picket sidecar` can be told."""

    join: Join
    join_file: Path | None
    paths: StatePaths
    capture: str
    redirect_by: str
    instance: str
    image_digest: str
    envoy: str | None
    app_user: tuple[int, int] | None
    report_interval_seconds: float
    exclude_outbound_ports: tuple[int, ...]
    outbound_udp: str
    concurrency: int
    app_start_wait_seconds: float
    drain_seconds: float
    app_probes: Mapping[str, Probe]
    proofs: bool
    command: tuple[str, ...]

    @property
    def node_id(self) -> str:
        """How Envoy names itself to the control plane."""
        return f"sidecar~{self.join.workload}~{self.instance}"


def parse_app_user(text: str) -> tuple[int, int]:
    """``UID:GID``, both numbers.

    Raises:
        SettingsError: another shape, or Envoy's own user or group, whose traffic is not captured.
    """
    found = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not found:
        raise SettingsError(f"--app-user: {text[:40]!r} is not UID:GID, for example 65534:65534")
    uid, gid = int(found[1]), int(found[2])
    if PROXY_ID in (uid, gid):
        raise SettingsError(f"--app-user: {PROXY_ID} is Envoy's: an application that runs so would go around the mesh")
    if max(uid, gid) >= 2**32 - 1:
        raise SettingsError("--app-user: user and group are at most 4294967294")
    return uid, gid


def parse_image_digest(text: str) -> str:
    """The digest of an image: ``sha256:...``, or ``NAME@sha256:...``; empty where nothing was given.

    Raises:
        SettingsError: another shape.
    """
    found = _IMAGE.fullmatch(text)
    if text and found is None:
        raise SettingsError(f"--image-digest: {text[:100]!r} is neither sha256: and 64 hexadecimal digits, nor NAME@sha256:...")
    return found[1] if found else ""


def build_settings(
    *,
    join_file: Path | None,
    join: Join,
    state: Path,
    command: Sequence[str] = (),
    capture: str = "redirect",
    redirect_by: str = "agent",
    instance: str,
    image_digest: str = "",
    envoy: str | None = None,
    app_user: str | None = None,
    report_interval_seconds: float = 5.0,
    exclude_outbound_ports: Sequence[int] = (),
    outbound_udp: str = "pass",
    concurrency: int = 1,
    control_plane: str | None = None,
    insecure: bool = False,
    app_start_wait_seconds: float = 30.0,
    drain_seconds: float = 5.0,
    app_probes: str = "",
    proofs: bool = True,
) -> Settings:
    """Check options and put them together. ``insecure`` is the option: the join file alone never turns encryption off.

    Raises:
        SettingsError: which option, what is wrong with it and what to do.
    """
    if control_plane:
        check_target(control_plane, "--control-plane")
    target = control_plane or join.control_plane
    _check_channel(join_file, join, target, insecure=insecure)
    for option, text, allowed in (
        ("--capture", capture, CAPTURES),
        ("--redirect-by", redirect_by, REDIRECT_BY),
        ("--outbound-udp", outbound_udp, OUTBOUND_UDP),
    ):
        if text not in allowed:
            raise SettingsError(f"{option}: {' or '.join(allowed)}")
    if app_probes and redirect_by != "init":
        raise SettingsError("--app-probes: the agent answers the kubelet only in a pod, with --redirect-by init")
    if redirect_by == "init":
        _check_by_init(capture, command, exclude_outbound_ports, outbound_udp)
    if not 1 <= concurrency <= 256:
        raise SettingsError("--concurrency: 1 to 256 worker threads")
    if not _INSTANCE.fullmatch(instance):
        raise SettingsError(f"--instance: {instance[:140]!r}: 1 to 128 letters, digits, dots, dashes, underscores or colons")
    for name, value, lowest, highest in (
        ("--report-interval-seconds", report_interval_seconds, 0.05, 300.0),
        ("--app-start-wait", app_start_wait_seconds, 0.0, 3600.0),
        ("--drain-seconds", drain_seconds, 0.0, 600.0),
    ):
        if not lowest <= value <= highest:
            raise SettingsError(f"{name}: {lowest:g} to {highest:g}")
    if any(not 0 < port < 65536 for port in exclude_outbound_ports):
        raise SettingsError("--exclude-outbound-port: 1 to 65535")
    paths = StatePaths(state.absolute())
    paths.check()
    return Settings(
        join=replace(join, control_plane=target, insecure=insecure),
        join_file=None if join_file is None else join_file.absolute(),
        paths=paths,
        capture=capture,
        redirect_by=redirect_by,
        instance=instance,
        image_digest=parse_image_digest(image_digest),
        envoy=envoy,
        app_user=parse_app_user(app_user) if app_user else None,
        report_interval_seconds=report_interval_seconds,
        exclude_outbound_ports=tuple(sorted(set(exclude_outbound_ports))),
        outbound_udp=outbound_udp,
        concurrency=concurrency,
        app_start_wait_seconds=app_start_wait_seconds,
        drain_seconds=drain_seconds,
        app_probes=read_probes(app_probes),
        proofs=proofs,
        command=tuple(command),
    )


def _check_channel(join_file: Path | None, join: Join, target: str, *, insecure: bool) -> None:
    """See that the control channel is encrypted and its other end known, or that it stays on this machine."""
    if join.insecure and not insecure:
        raise SettingsError("the join file is of a control plane without TLS; say --insecure if that is what you want")
    if insecure:
        for address in (target, join.enrollment):
            if not is_local(address):
                raise SettingsError(f"--insecure: {address} is not on this machine; a plaintext control channel stays on loopback")
    elif join.workload_api is None and "BEGIN CERTIFICATE" not in join.bundle_pem:
        raise SettingsError(f"--join: {join_file}: bundle_pem: the control plane's root certificates are missing")


def _check_by_init(capture: str, command: Sequence[str], exclude_outbound_ports: Sequence[int], outbound_udp: str) -> None:
    """What does not go together with rules that were made before."""
    if capture != "redirect":
        raise SettingsError("--redirect-by init: goes with --capture redirect")
    if command:
        raise SettingsError("--redirect-by init: COMMAND would be the sidecar's own user and go around the mesh; start it apart")
    if exclude_outbound_ports or outbound_udp != "pass":
        raise SettingsError("--redirect-by init: what is captured is said to `picket-sidecar init`, not to the sidecar")
