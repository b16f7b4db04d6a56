"""The `picket` command: its subcommands, and how failures are told. Every failure is one line; 1 for refused, 2 for misused."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

from controlplane.cli.ask import ask
from controlplane.cli.audit import audit
from controlplane.cli.breakglass import break_glass
from controlplane.cli.ca import ca
from controlplane.cli.cluster import cluster
from controlplane.cli.connection import NotFoundError
from controlplane.cli.demo import demo
from controlplane.cli.explain import explain
from controlplane.cli.graph import show_map
from controlplane.cli.incidents import incidents
from controlplane.cli.learn import learn
from controlplane.cli.leases import leases
from controlplane.cli.modes import mode
from controlplane.cli.offline import POLICY_COMMANDS, check
from controlplane.cli.owners import owners
from controlplane.cli.parity import parity
from controlplane.cli.policy import policy
from controlplane.cli.policy_objects import objects
from controlplane.cli.preview import preview
from controlplane.cli.prove import prove
from controlplane.cli.readiness import readiness
from controlplane.cli.replay import replay
from controlplane.cli.review import approve, comment, proposals, reject
from controlplane.cli.rollouts import rollout
from controlplane.cli.serve import controlplane
from controlplane.cli.sidecar import sidecar
from controlplane.cli.sidecars import sidecars
from controlplane.cli.sinks import sinks
from controlplane.cli.token import token
from controlplane.cli.user import user
from controlplane.cli.violation_acts import allow, show
from controlplane.cli.violation_acts import ask as ask_for
from controlplane.cli.violation_export import export
from controlplane.cli.violations import violations
from controlplane.cli.wait import wait


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="picket", message="%(version)s")
def picket() -> None:
    """Close a service mesh down to the connections that its services need."""


for _command in (
    approve,
    ask,
    audit,
    break_glass,
    ca,
    check,
    cluster,
    comment,
    controlplane,
    demo,
    explain,
    incidents,
    learn,
    leases,
    show_map,
    mode,
    owners,
    parity,
    policy,
    preview,
    proposals,
    prove,
    readiness,
    reject,
    replay,
    rollout,
    sidecar,
    sidecars,
    sinks,
    token,
    user,
    violations,
    wait,
):
    picket.add_command(_command)
for _command in (show, ask_for, allow, export):
    violations.add_command(_command)
for _command in (objects, *POLICY_COMMANDS):
    policy.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = picket.main(arguments, prog_name="picket", standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "picket"
        return _fail(f"{error.format_message()} (see `{command} --help`)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except click.Abort as error:
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        return _fail("interrupted" if interrupted else "nothing was done", 130 if interrupted else 1)
    except NotFoundError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _client_errors() as error:
        return _fail(_api_failure(error), 1)
    return code if isinstance(code, int) else 0


def _client_errors() -> tuple[type[Exception], ...]:
    """What the client raises. Python asks only when something failed, so that the rest of the time nothing is imported for it."""
    from controlplane.api.client import ApiError, UnreachableError  # noqa: PLC0415

    return (ApiError, UnreachableError)


def _api_failure(error: Exception) -> str:
    """What the client says of a call that failed."""
    from controlplane.api.client import UnreachableError  # noqa: PLC0415  # as above

    if isinstance(error, UnreachableError):
        return f"{error}; is it running? Start one with `picket controlplane --topology FILE`, or name another with --server"
    return str(error)


def _fail(text: str, code: int) -> int:
    from controlplane.cli.output import clean  # noqa: PLC0415

    click.echo(f"picket: {clean(' '.join(text.split()))}", err=True)
    return code


if __name__ == "__main__":
    main()
