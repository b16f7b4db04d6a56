"""`picket sidecar`: becomes the sidecar's own program. The two sides share no code, so it is started, not imported."""

from __future__ import annotations

import os
import sys

import click


class _PassedOn(click.Command):
    """A command whose arguments are another program's: none is looked at here, not even ``--`` or ``--help``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as they are."""
        ctx.args = args
        return args


@click.command("sidecar", cls=_PassedOn, short_help="Run a sidecar before a service.")
@click.pass_context
def sidecar(context: click.Context) -> None:
    """Run a sidecar before a service."""
    # -P: a folder "sidecar" in the working directory is not ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "sidecar.main", *context.args])  # noqa: S606  # no shell is wanted
