"""`picket policy`: the approved allow-list, its revisions, what differs between them, and the way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controlplane.cli.connection import Session, Way, connectable, connected
from controlplane.cli.offline import difference
from controlplane.cli.output import cell, clean, clock, console, lines, match_text, plural, short, show_json
from controlplane.cli.review import in_stages, show_published

if TYPE_CHECKING:
    from rich.text import Text

_RANGE = re.compile(r"([0-9]{1,12})?(?:\.\.([0-9]{1,12})?)?")


@click.group("policy", short_help="Show the approved allow-list, and work on its files.")
def policy() -> None:
    """Show the approved allow-list, compare its revisions, put an older one into force again; check, test and export files."""


@policy.command("show")
@click.argument("revision", type=click.IntRange(1), required=False)
@click.option("--service", metavar="SERVICE", help="Only the allow-list of this service.")
@connected
def show(session: Session, revision: int | None, service: str | None) -> None:
    """Show the rules in force, or those of REVISION."""
    found = session.get("/policy" if revision is None else f"/policy/revisions/{revision}")
    if service:
        found["services"] = [
            listed for listed in found["services"] if service in {listed["service"], listed["service"].partition("/")[2]}
        ]
    if session.output == "json":
        show_json(found)
        return
    out = console()
    state = "in force" if found["active"] else "not in force"
    note = f", by {found['author']}: {found['note']}" if found["author"] else ""
    counts = f"{plural(found['rule_count'], 'rule')} for {plural(found['service_count'], 'service')}"
    out.print(cell(f"revision {found['revision']}, {state}: {counts}{note}"))
    if not found["services"]:
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing("destination", "", "source", "~may send")
    for listed in found["services"]:
        for rule in listed["rules"]:
            may = lines([match_text(match) for match in rule["http"]] or ["anything"])
            listing.add(f"{short(listed['service'])}:{rule['port']}", "←", short(rule["source"]), may)
    listing.show(out)


@policy.command("revisions")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@connected
def revisions(session: Session, limit: int) -> None:
    """List revisions, newest first."""
    found = session.get("/policy/revisions", {"limit": limit})
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if not found["revisions"]:
        out.print("no revision yet: nothing was approved")
        return
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    listing = Listing(">#", "", "made", "by", ">services", ">rules", "enforcement", "note")
    for item in found["revisions"]:
        state = "in force" if item["active"] else ""
        counts = (item["service_count"], item["rule_count"])
        proved = _proved(item["proved"])
        listing.add(item["revision"], state, clock(item["created_ms"]), item["author"], *counts, proved, item["note"])
    listing.show(out)


def _proved(counts: dict[str, int]) -> Text:
    """What was tried while a revision was in force: how much of it was denied and reported."""
    told = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count and name != "failed"]
    if counts["failed"]:
        return cell(", ".join([f"{counts['failed']} FAILED", *told]), "bold red")
    return cell(", ".join(told) or "-")


@policy.command("diff", short_help="Show what revisions brought, or files would change.")
@click.argument("compared", nargs=-1, metavar="[A..B | PATH...]")
@click.option("--prune", is_flag=True, help="Applying files takes away the rules of services without a document.")
@connectable
def diff(way: Way, compared: tuple[str, ...], *, prune: bool) -> None:
    """Show what differs between revisions A and B, or what TrafficPolicy files would change.

    B alone compares with the one before it; A.. with the one in force; nothing shows what the one in force brought.
    Revision 0 is the empty policy. PATH names files and folders.
    """
    paths = tuple(map(Path, compared))
    if len(paths) == 2 and not any(path.exists() for path in paths) and all(text.isdecimal() for text in compared):
        raise click.UsageError(f"two revisions are written {'..'.join(compared)[:40]}")
    if len(paths) > 1 or (paths and paths[0].exists() and not _RANGE.fullmatch(compared[0])):
        difference(way, paths, prune=prune)
        return
    session = way.session()
    found = session.get("/policy/diff", parse_range(compared[0] if compared else ""))
    if session.output == "json":
        show_json(found)
        return
    click.echo(f"revision {found['before']} to {found['after']}: {plural(len(found['changes']), 'difference')}")
    for line in found["text"].splitlines():
        click.echo(clean(line))


def parse_range(text: str) -> dict[str, str | int | None]:
    """Read ``A..B``, ``A..``, ``..B`` or ``B``.

    Raises:
        click.UsageError: another shape.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise click.UsageError(f"{text[:40]!r} is no pair of revisions and no file: write 3..5, 3.. or 5")
    if ".." not in text:
        return {"after": found[1]}
    return {"before": found[1], "after": found[2]}


@policy.command("apply", short_help="Put TrafficPolicy files into force.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--prune", is_flag=True, help="Take away the rules of services without a document.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")
@click.option("--override", metavar="REASON", default="", help="Why to enforce what is not ready; kept in the audit log.")
@click.option("--override-review", metavar="REASON", default="", help="Why an admin does not wait for those who have to agree.")
@in_stages
@connectable
def apply(way: Way, paths: tuple[Path, ...], *, prune: bool, dry_run: bool, **about: object) -> None:
    """Put TrafficPolicy files, and those in folders, into force: rules and modes of the services that they name.

    Other services keep what they have. What changes is shown first; nothing is done when somebody was faster.
    """
    if dry_run:
        difference(way, paths, prune=prune)
        return
    from controlplane.cli.policy_apply import apply_files  # noqa: PLC0415  # `picket --help` does not pay for it

    found = apply_files(way, paths, prune=prune, about=about)
    if "revision" in found:
        show_published(way.session(), found)
    elif way.output == "json":
        show_json(found)
    else:
        console().print(cell(found["detail"]))


@policy.command("rollback", short_help="Put an older revision into force again.")
@click.argument("revision", type=click.IntRange(0))
@click.option("--comment", "-m", default="", help="Why; it stands in the audit log.")
@connected
def rollback(session: Session, revision: int, comment: str) -> None:
    """Put the rules of REVISION into force again, as a new revision. 0 takes every rule away."""
    show_published(session, session.post("/policy/rollback", {"revision": revision, "comment": comment}))
