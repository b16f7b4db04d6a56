"""`picket demo`: the whole job on real Envoys, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("demo", short_help="Show the whole job on real Envoys, on this machine.")
@click.option("--once", is_flag=True, help="End after the tour instead of staying up until Ctrl-C.")
@click.option("--topology", type=_FILE, help="Topology file, or the name of one that comes along.  [default: online-boutique]")
@click.option("--approve-all", is_flag=True, help="Approve what was learned without asking.")
@click.option("--report", type=_FILE, help="Write what was found as JSON.")
@click.option(
    "--capture",
    type=click.Choice(["auto", "redirect", "explicit"]),
    default="auto",
    show_default=True,
    help="How traffic reaches the sidecars.",
)
@click.pass_context
def demo(context: click.Context, /, **options: Any) -> None:
    """Start services behind real Envoys, learn who talks to whom, approve it, enforce it, and try everything else."""
    from controlplane.demo.run import DemoOptions, run_demo  # noqa: PLC0415  # `picket --help` does not pay for it

    context.exit(run_demo(DemoOptions(**options)))
