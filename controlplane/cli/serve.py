"""`picket controlplane`: runs a control plane. Its options come from flags, the environment and a file, in this order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from controlplane.api import places
from controlplane.cli.configfile import read_config
from protos.spiffe.endpoint import ADDRESS_VARIABLE

_PATH = click.Path(path_type=Path)


def _load_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    """The file's values become defaults: flags and environment stand above it."""
    if value is not None:
        context.default_map = {**(context.default_map or {}), **read_config(value, context.command.params)}


def _setting(name: str, text: str, **more: Any) -> click.Option:
    """An option ``--name`` that may also stand in the environment as ``PICKET_NAME``."""
    more.setdefault("show_default", "default" in more)
    return click.Option([f"--{name}"], help=text, envvar=f"PICKET_{name.upper().replace('-', '_')}", show_envvar=True, **more)


#: Every setting of the control plane.
SETTINGS = (
    _setting(
        "config", "YAML file with these options by their names.",
        type=_PATH, expose_value=False, is_eager=True, callback=_load_config,
    ),
    _setting(
        "data", "Directory for the database, the CA and the API's token.", type=_PATH, default=places.default_data,
        show_default=places.DEFAULT_DATA_SHOWN,
    ),
    _setting("topology", "YAML file with the services of the mesh. With --kubernetes: with those outside the cluster.", type=_PATH),
    _setting(
        "database", "sqlite:///path or postgresql://user@host/name. A URL with a password stands in the environment or the file.",
        metavar="URL", show_default="sqlite in --data",
    ),
    _setting("trust-domain", "SPIFFE trust domain of the mesh.", default="picket.local"),
    _setting(
        "grpc-listen", "Where sidecars connect (mTLS): host:port or unix:/path. Repeatable.",
        multiple=True, default=["127.0.0.1:7601"], metavar="ADDRESS",
    ),
    _setting(
        "enroll-listen", "Where new sidecars get their first certificate (TLS): host:port or unix:/path. Repeatable.",
        multiple=True, default=["127.0.0.1:7602"], metavar="ADDRESS",
    ),
    _setting(
        "api-listen", "Where API and console listen: host:port (asks for a token) or unix:/path (for this user). Repeatable.",
        multiple=True, default=["127.0.0.1:7600"], metavar="ADDRESS",
    ),
    _setting(
        "server-name", "Further DNS name or address in the gRPC listeners' certificate. Repeatable.", multiple=True, metavar="NAME"
    ),
    _setting("svid-lifetime-seconds", "How long a sidecar's certificate is good.", type=int, default=3600),
    _setting("default-mode", "Mode of services that have none: learn, audit or enforce.", default="learn", metavar="MODE"),
    _setting(
        "insecure", "PLAINTEXT control channel, on loopback only; for tests.", is_flag=True, default=False, show_default=False
    ),
    _setting(
        "allow-remote-api", "Let the API be reached from elsewhere, behind a TLS proxy; wants --api-token-file.",
        is_flag=True, default=False, show_default=False,
    ),
    _setting(
        "api-token-file", "File with the token that the API asks for over TCP.",
        type=_PATH, show_default="api-token in --data, made if missing",
    ),
    _setting(
        "api-host-name", "Further host name by which the API is called, such as the TLS proxy's. Repeatable.",
        multiple=True, metavar="NAME",
    ),
    _setting(
        "keep-violations-days", "Violations and incidents are removed so long after they were last seen; 0: never.", type=int,
        default=90, metavar="DAYS",
    ),
    _setting("keep-edges-days", "The same of learned edges.", type=int, default=365, metavar="DAYS"),
    _setting("keep-sidecars-days", "The same of sidecars that are gone.", type=int, default=30, metavar="DAYS"),
    _setting("keep-history-days", "The same of uses by the hour, which a replay reads.", type=int, default=30, metavar="DAYS"),
    _setting(
        "gate-min-days", "Whole days that a service must have been watched before it is enforced; 0: no gate.", type=int, default=7,
        metavar="DAYS",
    ),
    _setting("gate-max-denials", "Denials a day that may be expected then, at most.", type=int, default=3, metavar="COUNT"),
    _setting("unused-days", "Edges unused for so long are proposed for removal; 0: never.", type=int, default=30, metavar="DAYS"),
    _setting(
        "prove-hours", "Enforcement is tried again so long after it was last proved; 0: only after a change.", type=int, default=24,
        metavar="HOURS",
    ),
    _setting(
        "no-proofs", "Ask no sidecar to try what is forbidden; enforcement is then not proved.",
        is_flag=True, default=False, show_default=False,
    ),
    _setting(
        "sensitive", "Service worth protecting (namespace/name): edges toward it from where trust is low are marked. Repeatable.",
        multiple=True, metavar="SERVICE",
    ),
    _setting(
        "low-trust", "Workload of low trust (namespace/account); gateways are, and whoever has no identity. Repeatable.",
        multiple=True, metavar="WORKLOAD",
    ),
    _setting("oidc", "YAML file with the identity provider that people sign in by, and what its groups may do.", type=_PATH),
    _setting("sinks", "YAML file that says where violations and incidents are sent.", type=_PATH),
    _setting("owners", "File that says who has to agree to edges toward which services; read for each decision.", type=_PATH),
    _setting(
        "four-eyes", "Two persons have to agree to each edge.", is_flag=True, default=False, show_default=False
    ),
    _setting(
        "kubernetes", "Run for the cluster that this is in, or that KUBECONFIG names: its pods and services are the mesh.",
        is_flag=True, default=False, show_default=False,
    ),
    _setting("kubernetes-audience", "Audience that its pods' tokens have to be for.", default="picket", metavar="NAME"),
    _setting(
        "kubernetes-ca-secret", "Secret of the own namespace that keeps the authority, made if missing.",
        default="", show_default="the authority is in --data", metavar="NAME",
    ),
    _setting(
        "ca-directory", "Directory of the authority. Where control planes share a database: one that all of them have.", type=_PATH,
        show_default="ca in --data",
    ),
    _setting("ca-lifetime-days", "How long an authority that is made is good.", type=int, default=3650, metavar="DAYS"),
    _setting(
        "ca-rotate-days", "So long before the authority ends it is rotated; 0: only when somebody asks.", type=int, default=90,
        metavar="DAYS",
    ),
    _setting(
        "ca-overlap-hours", "A new authority waits at most so long for sidecars that do not trust it yet.", type=int, default=24,
        metavar="HOURS",
    ),
    _setting(
        "api-tls-listen", "Where API and console listen too, with TLS and a certificate of the mesh's authority.", metavar="ADDRESS"
    ),
    _setting("webhook-listen", "Where Kubernetes asks about new pods, with TLS; goes with --injection.", metavar="ADDRESS"),
    _setting("injection", "YAML file with what pods get: the sidecar's image and its options.", type=_PATH),
    _setting(
        "webhook-configuration", "MutatingWebhookConfiguration to keep the roots in; with --kubernetes.", metavar="NAME",
        default="", show_default=False,
    ),
    _setting(
        "webhook-certificate", "Directory with tls.crt and tls.key for the webhook, read anew when they change.", type=_PATH,
        show_default="the mesh authority's",
    ),
    _setting(
        "kubernetes-policies", "Put the cluster's TrafficPolicy objects into force; goes with --kubernetes.", is_flag=True,
        default=False, show_default=False,
    ),
    _setting(
        "kubernetes-approvals", "Write what is approved as TrafficPolicy objects into namespaces labelled so; with --kubernetes.",
        is_flag=True, default=False, show_default=False,
    ),
    _setting(
        "identity", "Who gives identities: picket (the mesh's own authority) or workload-api (SPIFFE's, as SPIRE serves it).",
        default="picket", metavar="SOURCE",
    ),
    _setting(
        "workload-api", "With --identity workload-api: its socket, unix:/path.", metavar="ADDRESS",
        show_default="SPIFFE_ENDPOINT_SOCKET",
    ),
    _setting(
        "svid-hint", "With --identity workload-api: which of several identities is the control plane's.", metavar="HINT",
        default="", show_default=False,
    ),
    _setting("log-level", "debug, info, warning or error.", default="info", metavar="LEVEL"),
)  # fmt: skip


def _run(**options: Any) -> None:
    context = click.get_current_context()
    from controlplane.settings import SettingsError, build_settings  # noqa: PLC0415  # `picket --help` does not pay for it

    if context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE:
        _refuse_password(options["database"])
    if options["identity"] == "workload-api" and not options["workload_api"]:
        options["workload_api"] = os.environ.get(ADDRESS_VARIABLE)
    try:
        settings = build_settings(**options)
    except SettingsError as error:
        raise click.UsageError(str(error), context) from error
    from controlplane.runtime import run_command  # noqa: PLC0415  # wrong settings are told before the heavy part loads

    context.exit(run_command(settings))


def _refuse_password(url: str) -> None:
    """Arguments can be read by every user of the machine."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return  # told by the store, which knows what a database URL is
    if password:
        raise click.UsageError(
            "--database: others can read a password on the command line; put the URL into PICKET_DATABASE or the --config file"
        )


controlplane = click.Command(
    "controlplane",
    callback=_run,
    params=list(SETTINGS),
    short_help="Run a control plane.",
    help="Run a control plane until it is told to stop.\n\n"
    "Options may also stand in the environment or in the --config file; flags are above the environment, and both above the file.",
)
