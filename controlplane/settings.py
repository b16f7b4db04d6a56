"""The control plane's settings: frozen, checked once, passed in. Never reads them again."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controlplane.graph.evidence import MAX_DAYS
from controlplane.identity.schedule import Terms
from controlplane.identity.spiffe import SpiffeError, check_trust_domain
from controlplane.policy.rules import Mode
from protos.spiffe.endpoint import ADDRESS_VARIABLE, MAX_HINT_CHARACTERS, read_address

#: Who gives identities: the mesh's own authority, or the SPIFFE Workload API (SPIRE's).
IDENTITIES = ("picket", "workload-api")
_MAX_DAYS = 36_500
_NAME = re.compile(r"[a-z0-9_.-]{1,253}/[a-z0-9_.-]{1,253}")
#: The name of a Kubernetes object.
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: a Unix socket's path, or a host and a port (0: any free one)."""

    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path:
            return True
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def target(self) -> str:
        """The address as gRPC writes it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_listen(text: str, setting: str) -> Listen:
    """Read ``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        SettingsError: another shape, or a socket path that is too long for the system.
    """
    if not text.isprintable() or " " in text:
        raise SettingsError(f"{setting}: {text!r} is not host:port or unix:/path")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 107:
            raise SettingsError(f"{setting}: {text!r}: an absolute path of at most 107 bytes is wanted after unix:")
        return Listen(path=path)
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise SettingsError(f"{setting}: {text!r} is not host:port or unix:/path")
    return Listen(host=host, port=int(port))


def advertised(address: str, names: Sequence[str]) -> str:
    """What others dial to reach ``host:port``: the first name instead of a host that means every interface."""
    host, _, port = address.rpartition(":")
    if host not in {"0.0.0.0", "[::]"} or not names:  # noqa: S104  # nothing is bound here
        return address
    return f"[{names[0]}]:{port}" if ":" in names[0] else f"{names[0]}:{port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `picket controlplane` can be told."""

    data: Path
    topology: Path | None
    database_url: str
    trust_domain: str
    grpc_listen: tuple[Listen, ...]
    enroll_listen: tuple[Listen, ...]
    api_listen: tuple[Listen, ...]
    server_names: tuple[str, ...]
    svid_lifetime_seconds: int
    default_mode: Mode
    insecure: bool
    api_token_file: Path | None
    api_host_names: tuple[str, ...]
    log_level: str
    keep_violations_days: int
    keep_edges_days: int
    keep_sidecars_days: int
    keep_history_days: int
    gate_min_days: int
    gate_max_denials: int
    unused_days: int
    prove_hours: int
    proofs: bool
    sensitive: tuple[str, ...]
    low_trust: tuple[str, ...]
    kubernetes: bool
    kubernetes_audience: str
    kubernetes_ca_secret: str
    owners: Path | None
    oidc: Path | None
    sinks: Path | None
    four_eyes: bool
    api_tls_listen: Listen | None
    webhook_listen: Listen | None
    injection: Path | None
    webhook_configuration: str
    webhook_certificate: Path | None
    kubernetes_policies: bool
    ca_directory: Path | None
    rotation: Terms
    kubernetes_approvals: bool
    #: gRPC's target of the SPIFFE Workload API that gives identities; empty where the mesh's own authority does.
    workload_api: str
    svid_hint: str


def build_settings(
    *,
    data: str | Path,
    topology: str | Path | None = None,
    database: str | None = None,
    trust_domain: str = "picket.local",
    grpc_listen: Sequence[str] = ("127.0.0.1:7601",),
    enroll_listen: Sequence[str] = ("127.0.0.1:7602",),
    api_listen: Sequence[str] = ("127.0.0.1:7600",),
    server_name: Sequence[str] = (),
    svid_lifetime_seconds: int = 3600,
    default_mode: str = "learn",
    insecure: bool = False,
    allow_remote_api: bool = False,
    api_token_file: str | Path | None = None,
    api_host_name: Sequence[str] = (),
    log_level: str = "info",
    keep_violations_days: int = 90,
    keep_edges_days: int = 365,
    keep_sidecars_days: int = 30,
    keep_history_days: int = 30,
    gate_min_days: int = 7,
    gate_max_denials: int = 3,
    unused_days: int = 30,
    prove_hours: int = 24,
    no_proofs: bool = False,
    sensitive: Sequence[str] = (),
    low_trust: Sequence[str] = (),
    kubernetes: bool = False,
    kubernetes_audience: str = "picket",
    kubernetes_ca_secret: str = "",
    owners: str | Path | None = None,
    oidc: str | Path | None = None,
    sinks: str | Path | None = None,
    four_eyes: bool = False,
    api_tls_listen: str | None = None,
    webhook_listen: str | None = None,
    injection: str | Path | None = None,
    webhook_configuration: str = "",
    webhook_certificate: str | Path | None = None,
    kubernetes_policies: bool = False,
    ca_directory: str | Path | None = None,
    ca_lifetime_days: int = 3650,
    ca_rotate_days: int = 90,
    ca_overlap_hours: int = 24,
    kubernetes_approvals: bool = False,
    identity: str = "picket",
    workload_api: str | None = None,
    svid_hint: str = "",
) -> Settings:
    """Check options and put them together.

    Raises:
        SettingsError: which option, what is wrong with it and what to do.
    """
    directory = Path(data)
    try:
        check_trust_domain(trust_domain)
    except SpiffeError as error:
        raise SettingsError(f"--trust-domain: {error}") from error
    if default_mode not in set(Mode) - {Mode.QUARANTINE}:
        raise SettingsError("--default-mode: learn, audit or enforce")
    if not 30 <= svid_lifetime_seconds <= 30 * 86400:
        raise SettingsError("--svid-lifetime-seconds: 30 seconds to 30 days")
    if log_level not in {"debug", "info", "warning", "error"}:
        raise SettingsError("--log-level: debug, info, warning or error")
    kept = {
        "violations": keep_violations_days, "edges": keep_edges_days, "sidecars": keep_sidecars_days, "history": keep_history_days,
    }  # fmt: skip
    for name, days in kept.items():
        if not 0 <= days <= _MAX_DAYS:
            raise SettingsError(f"--keep-{name}-days: 1 to {_MAX_DAYS} days, or 0 for ever")
    _check_review(gate_min_days, gate_max_denials, unused_days, {"--sensitive": sensitive, "--low-trust": low_trust})
    rotation = _rotation(ca_lifetime_days, ca_rotate_days, ca_overlap_hours, svid_lifetime_seconds)
    if ca_directory is not None and kubernetes_ca_secret:
        raise SettingsError("--ca-directory: the authority is in --kubernetes-ca-secret; leave one of both out")
    _check_kubernetes(topology, kubernetes_audience, kubernetes_ca_secret, kubernetes=kubernetes)
    if not 0 <= prove_hours <= 24 * _MAX_DAYS:
        raise SettingsError(f"--prove-hours: 1 to {24 * _MAX_DAYS} hours, or 0 for only after a change")
    grpc = tuple(parse_listen(text, "--grpc-listen") for text in grpc_listen)
    enroll = tuple(parse_listen(text, "--enroll-listen") for text in enroll_listen)
    api = tuple(parse_listen(text, "--api-listen") for text in api_listen)
    if insecure:
        remote = next((listen for listen in (*grpc, *enroll) if not listen.is_local), None)
        if remote is not None:
            raise SettingsError(
                f"--insecure: {remote.target} can be reached from elsewhere; a plaintext control channel stays on loopback"
            )
    token_file = Path(api_token_file) if api_token_file else None
    open_api = next((listen for listen in api if not listen.is_local), None)
    if open_api is not None and (not allow_remote_api or token_file is None):
        raise SettingsError(
            f"--api-listen: {open_api.target} can be reached from elsewhere and the API speaks no TLS itself; keep it on loopback, "
            "or put a TLS proxy before it and say --allow-remote-api with --api-token-file"
        )
    api_tls, webhook = _fronts(api_tls_listen, webhook_listen)
    if api_tls is not None and all(listen.path for listen in api):
        raise SettingsError("--api-tls-listen: stands before an --api-listen on host:port; add one on loopback")
    if webhook_certificate is not None and (webhook_listen is None or webhook_configuration):
        told = "goes with --webhook-listen, and without --webhook-configuration: whoever makes it has the API server trust it"
        raise SettingsError(f"--webhook-certificate: {told}")
    of_cluster = {
        "--webhook-configuration": webhook_configuration, "--kubernetes-policies": kubernetes_policies,
        "--kubernetes-approvals": kubernetes_approvals,
    }  # fmt: skip
    _check_cluster(webhook_listen, injection, of_cluster, kubernetes=kubernetes)
    return Settings(
        data=directory,
        topology=None if topology is None else Path(topology),
        database_url=database or f"sqlite:///{directory.absolute()}/picket.db",
        trust_domain=trust_domain,
        grpc_listen=grpc,
        enroll_listen=enroll,
        api_listen=api,
        server_names=tuple(server_name),
        svid_lifetime_seconds=svid_lifetime_seconds,
        default_mode=Mode(default_mode),
        insecure=insecure,
        api_token_file=token_file,
        api_host_names=tuple(api_host_name),
        log_level=log_level,
        keep_violations_days=keep_violations_days,
        keep_edges_days=keep_edges_days,
        keep_sidecars_days=keep_sidecars_days,
        keep_history_days=keep_history_days,
        gate_min_days=gate_min_days,
        gate_max_denials=gate_max_denials,
        unused_days=unused_days,
        prove_hours=prove_hours,
        proofs=not no_proofs,
        sensitive=tuple(sensitive),
        low_trust=tuple(low_trust),
        kubernetes=kubernetes,
        kubernetes_audience=kubernetes_audience,
        kubernetes_ca_secret=kubernetes_ca_secret,
        owners=None if owners is None else Path(owners),
        oidc=None if oidc is None else Path(oidc),
        sinks=None if sinks is None else Path(sinks),
        four_eyes=four_eyes,
        api_tls_listen=api_tls,
        webhook_listen=webhook,
        injection=None if injection is None else Path(injection),
        webhook_configuration=webhook_configuration,
        webhook_certificate=None if webhook_certificate is None else Path(webhook_certificate),
        kubernetes_policies=kubernetes_policies,
        ca_directory=None if ca_directory is None else Path(ca_directory),
        rotation=rotation,
        kubernetes_approvals=kubernetes_approvals,
        workload_api=_workload_api(identity, workload_api, svid_hint, kubernetes_ca_secret, insecure=insecure),
        svid_hint=svid_hint,
    )


def _rotation(lifetime_days: int, lead_days: int, overlap_hours: int, svid_lifetime_seconds: int) -> Terms:
    """How the authority is rotated: there has to be time for all of it before the old one ends."""
    if not 1 <= lifetime_days <= _MAX_DAYS:
        raise SettingsError(f"--ca-lifetime-days: 1 to {_MAX_DAYS} days")
    if not 0 <= lead_days < lifetime_days:
        raise SettingsError(f"--ca-rotate-days: fewer than --ca-lifetime-days ({lifetime_days}), or 0 for only when somebody asks")
    if not 0 <= overlap_hours <= 24 * _MAX_DAYS:
        raise SettingsError(f"--ca-overlap-hours: 0 to {24 * _MAX_DAYS} hours")
    terms = Terms(timedelta(days=lifetime_days), timedelta(days=lead_days), timedelta(hours=overlap_hours))
    needed = terms.overlap + timedelta(seconds=svid_lifetime_seconds)
    if terms.lead and terms.lead <= needed:
        raise SettingsError(f"--ca-rotate-days: more than --ca-overlap-hours and --svid-lifetime-seconds together ({needed})")
    return terms


def _workload_api(identity: str, address: str | None, hint: str, ca_secret: str, *, insecure: bool) -> str:
    """Where identities come from, where that is not the mesh's own authority."""
    if identity not in IDENTITIES:
        raise SettingsError(f"--identity: {' or '.join(IDENTITIES)}")
    if identity == "picket":
        if address or hint:
            raise SettingsError("--workload-api and --svid-hint: go with --identity workload-api")
        return ""
    if insecure or ca_secret:
        raise SettingsError("--identity workload-api: goes neither with --insecure nor with --kubernetes-ca-secret")
    if not address:
        raise SettingsError(f"--workload-api is missing, and {ADDRESS_VARIABLE} is not set: where the SPIFFE Workload API is")
    if len(hint) > MAX_HINT_CHARACTERS or not hint.isprintable():
        raise SettingsError(f"--svid-hint: at most {MAX_HINT_CHARACTERS} printable characters")
    try:
        return read_address(address)
    except ValueError as error:
        raise SettingsError(f"--workload-api: {error}") from error


def _check_cluster(listen: str | None, injection: str | Path | None, of_cluster: Mapping[str, object], *, kubernetes: bool) -> None:
    if (listen is None) is not (injection is None):
        raise SettingsError("--webhook-listen and --injection go together: where pods are reviewed, and what they get")
    for option, given in of_cluster.items():
        if given and not kubernetes:
            raise SettingsError(f"{option}: goes with --kubernetes")


def _fronts(api_tls_listen: str | None, webhook_listen: str | None) -> tuple[Listen | None, Listen | None]:
    """The addresses that speak TLS themselves: they may be reached from elsewhere."""
    found: list[Listen | None] = []
    for option, text in (("--api-tls-listen", api_tls_listen), ("--webhook-listen", webhook_listen)):
        address = None if text is None else parse_listen(text, option)
        if address is not None and address.path:
            raise SettingsError(f"{option}: {text!r}: host:port is wanted")
        found.append(address)
    return found[0], found[1]


def _check_review(gate_min_days: int, gate_max_denials: int, unused_days: int, lists: Mapping[str, Sequence[str]]) -> None:
    if not 0 <= gate_min_days <= MAX_DAYS:
        raise SettingsError(f"--gate-min-days: 1 to {MAX_DAYS} days, or 0 for no gate")
    if not 0 <= unused_days <= MAX_DAYS:
        raise SettingsError(f"--unused-days: 1 to {MAX_DAYS} days, or 0 for never")
    for option, names in lists.items():
        if (wrong := next((name for name in names if _NAME.fullmatch(name) is None), None)) is not None:
            raise SettingsError(f"{option}: {wrong[:80]!r} is not namespace/name")
    if gate_max_denials < 0:
        raise SettingsError("--gate-max-denials: how many denials a day are acceptable, 0 or more")


def _check_kubernetes(topology: str | Path | None, audience: str, ca_secret: str, *, kubernetes: bool) -> None:
    if topology is None and not kubernetes:
        raise SettingsError("--topology is missing: a file with the services of the mesh; in a cluster, --kubernetes finds them")
    if ca_secret and (not kubernetes or _OBJECT.fullmatch(ca_secret) is None):
        raise SettingsError("--kubernetes-ca-secret: goes with --kubernetes, and is a Secret's name in its own namespace")
    if not 0 < len(audience) <= 253 or not audience.isprintable():
        raise SettingsError("--kubernetes-audience: 1 to 253 characters")
