"""`picket controlplane`: runs a control plane. Its options come from flags, the environment and a file, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from controlplane.api import places
from controlplane.cli.configfile import read_config

_LEVELS = click.Choice(["debug", "info", "warning", "error"])


def _load_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    """The file's values become defaults: flags and environment stand above it."""
    if value is not None:
        context.default_map = {**(context.default_map or {}), **read_config(value, context.command.params)}


@click.command("controlplane", short_help="Run a control plane.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="PICKET_CONFIG", expose_value=False, is_eager=True,
    callback=_load_config, help="YAML file with these options by their names; flags and environment stand above it.",
)  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), envvar="PICKET_DATA", default=places.default_data, show_default="/var/lib/picket, or $XDG_STATE_HOME/picket",
              help="Directory for the database, the CA and the API's token.")  # fmt: skip
@click.option("--topology", type=click.Path(path_type=Path), envvar="PICKET_TOPOLOGY", required=True,
              help="YAML file with the services of the mesh.")  # fmt: skip
@click.option("--database", envvar="PICKET_DATABASE", metavar="URL", show_default="sqlite in --data",
              help="sqlite:///path or postgresql://...; a URL with a password goes into PICKET_DATABASE or the file.")  # fmt: skip
@click.option("--trust-domain", envvar="PICKET_TRUST_DOMAIN", default="picket.local", show_default=True, help="SPIFFE trust domain.")
@click.option("--grpc-listen", envvar="PICKET_GRPC_LISTEN", multiple=True, default=["127.0.0.1:7601"], show_default=True, metavar="ADDRESS",
              help="Where sidecars connect (mTLS): host:port or unix:/path. Repeatable.")  # fmt: skip
@click.option("--enroll-listen", envvar="PICKET_ENROLL_LISTEN", multiple=True, default=["127.0.0.1:7602"], show_default=True, metavar="ADDRESS",
              help="Where new sidecars get their first certificate (TLS): host:port or unix:/path. Repeatable.")  # fmt: skip
@click.option("--api-listen", envvar="PICKET_API_LISTEN", default="127.0.0.1:7600", show_default=True, metavar="ADDRESS",
              help="Where the API listens: host:port (asks for a token) or unix:/path (this user only).")  # fmt: skip
@click.option("--server-name", envvar="PICKET_SERVER_NAME", multiple=True, metavar="NAME",
              help="Further DNS name or address in the gRPC listeners' certificate. Repeatable.")  # fmt: skip
@click.option("--svid-lifetime-seconds", envvar="PICKET_SVID_LIFETIME_SECONDS", type=int, default=3600, show_default=True,
              help="How long a sidecar's certificate is good for.")  # fmt: skip
@click.option("--default-mode", envvar="PICKET_DEFAULT_MODE", type=click.Choice(["learn", "audit", "enforce"]), default="learn", show_default=True,
              help="Mode of services for which none was set.")  # fmt: skip
@click.option("--insecure", envvar="PICKET_INSECURE", is_flag=True, help="PLAINTEXT control channel, on loopback only; for tests.")
@click.option("--allow-remote-api", envvar="PICKET_ALLOW_REMOTE_API", is_flag=True,
              help="Let the API listen beyond this machine, behind a TLS proxy; wants --api-token-file.")  # fmt: skip
@click.option("--api-token-file", envvar="PICKET_API_TOKEN_FILE", type=click.Path(path_type=Path), show_default="api-token in --data, made if missing",
              help="File with the token that the API asks for over TCP.")  # fmt: skip
@click.option("--api-host-name", envvar="PICKET_API_HOST_NAME", multiple=True, metavar="NAME",
              help="Further host name by which the API is called, for example the TLS proxy's. Repeatable.")  # fmt: skip
@click.option("--log-level", envvar="PICKET_LOG_LEVEL", type=_LEVELS, default="info", show_default=True, help="What the log holds.")
@click.pass_context
def controlplane(context: click.Context, **options: Any) -> None:
    """Run a control plane until it is told to stop.

    Options may also stand in the environment (PICKET_ and the option's name) or in the --config file.
    """
    from controlplane.settings import SettingsError, build_settings  # noqa: PLC0415  # `picket --help` does not pay for it

    if "@" in (options["database"] or "") and context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE:
        _refuse_password(options["database"])
    try:
        settings = build_settings(**options)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    from controlplane.runtime import run_command  # noqa: PLC0415

    context.exit(run_command(settings))


def _refuse_password(url: str) -> None:
    """Arguments can be read by every user of the machine."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    if password:
        raise click.UsageError("--database: a password on the command line can be read by others; put the URL into PICKET_DATABASE or the --config file")
