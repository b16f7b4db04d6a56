"""Commands about files that people write: `picket policy lint|fmt|test|export|schema` and `picket check`.

What they do is imported when one of them runs, so that the others do not pay for it.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from controlplane.cli.connection import Way, connectable
from controlplane.cli.reporting import FILE, OUTPUT, PATHS, TOPOLOGY, Reporting, reporting


@click.command("lint", short_help="Check TrafficPolicy files.")
@click.argument("paths", nargs=-1, type=FILE, metavar="PATH...")
@TOPOLOGY
@click.option("--ignore", multiple=True, metavar="RULE", help="Leave out what this rule finds; may be repeated.")
@click.option("--rules", is_flag=True, help="List the rules instead.")
@OUTPUT
@reporting
def lint(told: Reporting, **given: Any) -> None:
    """Check TrafficPolicy files, and those below folders.

    A comment silences what is meant: `# picket: ignore[RULE] reason`, on the line or above it.
    """
    from controlplane.cli.policy_files import lint_files

    lint_files(told, **given)


@click.command("fmt", short_help="Format TrafficPolicy files.")
@PATHS
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would.")
def fmt(**given: Any) -> None:
    """Bring TrafficPolicy files, and those below folders, into canonical form.

    Comments and the order of rules are kept. Files that hold objects of other kinds are left alone.
    """
    from controlplane.cli.policy_files import format_files

    format_files(**given)


@click.command("schema", short_help="Print the JSON Schema of a kind of document.")
@click.argument("kind", type=click.Choice(["TrafficPolicy", "TrafficTest", "ServiceNeeds"]), default="TrafficPolicy")
def schema(kind: str) -> None:
    """Print the JSON Schema of a kind of document, for editors and other tools."""
    from controlplane.cli.policy_files import show_schema

    show_schema(kind)


@click.command("test", short_help="Evaluate TrafficTest files offline.")
@PATHS
@click.option(
    "--policy",
    multiple=True,
    type=FILE,
    metavar="PATH",
    help="TrafficPolicy files or folders, in place of those that the tests name; may be repeated.",
)
@TOPOLOGY
@click.option("--junit", type=FILE, metavar="FILE", help="Write the results as JUnit XML, too.")
@click.option("--all", "-a", "show_all", is_flag=True, help="Show also what is as expected.")
@OUTPUT
def test(**given: Any) -> None:
    """Evaluate TrafficTest files, and those below folders: who calls what, and what is to become of it."""
    from controlplane.cli.policy_test import test_files

    test_files(**given)


@click.command("export", short_help="Export the approved allow-lists, or files.")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH...]")
@click.option(
    "--to",
    "target",
    type=click.Choice(["picket", "networkpolicy", "cilium", "istio"]),
    default="picket",
    show_default=True,
    help="TrafficPolicy documents, or manifests of another tool.",
)
@TOPOLOGY
@click.option("--egress", is_flag=True, help="Also what workloads may call; for Istio as Sidecar and ServiceEntry.")
@click.option("--enforced", is_flag=True, help="As if every service enforced; those in quarantine stay there.")
@click.option("--label", default="app", show_default=True, help="The pod label that holds a workload's name.")
@click.option("--trust-domain", default="cluster.local", show_default=True, help="That of the target's identities.")
@click.option(
    "--into",
    type=FILE,
    metavar="PATH",
    help="Write there: a file, or for TrafficPolicy documents a folder, whose files keep their comments.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when the target lets pass or drops something else than the policy.")
@connectable
def export(way: Way, **given: Any) -> None:
    """Export the approved allow-lists; with PATH, those of TrafficPolicy files instead.

    What the target cannot say is listed, at the head of the file and on standard error.
    """
    from controlplane.cli.policy_export import export_policy

    export_policy(way, **given)


@click.command("check", short_help="Hold a repository to the approved policy.")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH...]")
@click.option(
    "--approved",
    multiple=True,
    type=FILE,
    metavar="PATH",
    help="TrafficPolicy files, or a saved answer of the API's /policy (.json), in place of the control plane.",
)
@click.option(
    "--change",
    multiple=True,
    type=FILE,
    metavar="PATH",
    help="TrafficPolicy files that are to be applied: what they take away must not be in use. May be repeated.",
)
@click.option("--prune", is_flag=True, help="Applying the change takes away the rules of services without a document.")
@click.option("--usage", type=FILE, metavar="FILE", help="A saved answer of the API's /map, in place of the control plane's.")
@click.option(
    "--used-within",
    "days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="How long ago an edge may have been used to be in use.",
)
@click.option("--propose", is_flag=True, help="Ask for what is needed and not approved, so that it stands in the open proposal.")
@click.option("--link", default="", help="Where that is discussed, such as the pull request; reviewers see it.")
@TOPOLOGY
@connectable
@reporting
def check(told: Reporting, way: Way, **given: Any) -> None:
    """Fail when an edge that a repository needs is not approved, or when a change of policies takes away one that is in use.

    PATH names files in which services declare what they need; picket.yaml when left out. Without --approved and --usage the
    control plane is asked. --propose takes a token with the role developer.
    """
    from controlplane.cli.check import check_repository

    check_repository(told, way, **given)


#: What `picket policy` has beside what it asks the control plane.
POLICY_COMMANDS = (lint, fmt, test, export, schema)


def difference(way: Way, paths: tuple[Path, ...], *, prune: bool) -> None:
    """What files would change in the policy in force; for `picket policy diff PATH`."""
    from controlplane.cli.policy_apply import show_difference

    show_difference(way, paths, prune=prune)
