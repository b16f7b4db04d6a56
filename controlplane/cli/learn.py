"""`picket learn import`: what other tools saw, as learning input. Goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controlplane.api import places
from controlplane.cli.connection import Session, Way, connectable
from controlplane.cli.output import console, plural, show_json

if TYPE_CHECKING:
    from controlplane.flows.imports.batches import Batch
    from controlplane.flows.imports.resume import Progress

FORMATS = ("hubble", "istio-json", "istio-text", "envoy-als", "aws-vpc")
#: Lines of one call to the control plane; an access log service's lines hold many records each.
BATCH_LINES, ALS_BATCH_LINES = 1_000, 5


@click.group("learn", short_help="Learn from the logs of other tools.")
def learn() -> None:
    """Learn from the logs of other tools."""


@learn.command("import", short_help="Take in the flows of a log file.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--format", "named", type=click.Choice(FORMATS), show_default="found out", help="What the log is.")
@click.option(
    "--of",
    "owner",
    metavar="NAMESPACE/WORKLOAD",
    help="Whose sidecar wrote the log, for access logs that do not say it themselves.",
)
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), show_default="in --data", help="Where progress is kept.")
@connectable
def import_log(way: Way, file: Path, named: str | None, owner: str | None, state: Path | None) -> None:
    """Take in the flows of FILE: Hubble's, Istio's and Envoy's access logs, VPC flow logs.

    Every record is counted: as a flow, as not used (and why), or as lost by the log's own word. An import that was interrupted
    goes on where it was, and one that is done takes in only what was added since. It approves nothing.
    """
    from controlplane.flows.imports import formats, resume  # noqa: PLC0415  # `picket --help` does not pay for it
    from controlplane.flows.imports.run import run  # noqa: PLC0415  # as above

    with file.open("rb") as log:
        kind = named or formats.detect(log)
        if kind is None:
            raise click.ClickException(f"{file}: not a log of a known format; say which with --format ({', '.join(FORMATS)})")
        size = file.stat().st_size
        begun = resume.Progress(resume.fingerprint(log), kind)
        session = way.session()
        # What one control plane has taken in, another one has not.
        server = hashlib.sha256(session.client.server.encode()).hexdigest()[:16]
        path = state or way.data / "imports" / f"{begun.epoch}-{server}.json"
        try:
            progress = resume.load(path.read_bytes()) if path.exists() else begun
            resume.check_same(progress, log, size)
        except resume.ResumeError as error:
            raise click.ClickException(f"{path}: {error}") from error
        if progress.format != kind:
            raise click.ClickException(f"{path}: this import was begun as {progress.format}; say --format {progress.format}")
        parser = formats.FORMATS[kind](_end(owner))
        sink = _Sink(session, file.name, kind)
        steps = run(
            log, parser, progress, sink, lambda made: _save(path, resume.dump(made)),
            batch_lines=ALS_BATCH_LINES if kind == "envoy-als" else BATCH_LINES,
        )  # fmt: skip
        _tell(session, file, kind, before=progress, after=_followed(steps, progress, size), stale=sink.stale)


def _followed(steps: Any, progress: Progress, size: int) -> Progress:
    """Run to the end, with a bar on a terminal."""
    with click.progressbar(length=size, label="importing", file=sys.stderr) as bar:
        bar.update(progress.offset)
        for made in steps:
            bar.update(made.offset - progress.offset)
            progress = made
    return progress


def _tell(session: Session, file: Path, kind: str, *, before: Progress, after: Progress, stale: int) -> None:
    counts = after.counts
    if session.output == "json":
        about = {"file": str(file), "format": kind, "epoch": after.epoch, "batches": after.batches, "stale": stale}
        show_json(about | asdict(counts))
        return
    out = console()
    if after.batches == before.batches:
        out.print(f"{file}: nothing new since the last import")
    out.print(f"{file} ({kind}): {plural(counts.lines, 'line')}, {plural(counts.flows, 'flow')} learned")
    for reason, count in sorted(counts.unused.items(), key=lambda item: (-item[1], item[0])):
        out.print(f"  {count} not used: {reason}")
    if counts.lost:
        out.print(f"  {counts.lost} lost before they were logged, by the log's own word")
    if stale:
        settings = "--keep-edges-days and --keep-violations-days"
        out.print(f"  {plural(stale, 'flow')} older than the control plane keeps ({settings}): gone within the hour")


class _Sink:
    """Sends batches to the control plane."""

    def __init__(self, session: Session, log: str, kind: str) -> None:
        self._session = session
        self._about = {"log": Path(log).name[:300], "format": kind}
        self.stale = 0

    def store(self, epoch: str, number: int, batch: Batch) -> None:
        """Return when it is stored."""
        flows = [_flow(asdict(found)) for found in batch.flows]
        receipt = self._session.post("/learn/import", {"epoch": epoch, "number": number, "flows": flows, **self._about})
        self.stale += receipt["stale"]


def _flow(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    ends = {name: {key: text for key, text in found[name].items() if text} for name in ("source", "destination")}
    return {key: value for key, value in found.items() if value != ""} | ends | {"verdict": str(found["verdict"])}


def _end(owner: str | None) -> Any:
    from controlplane.flows.imports.model import End  # noqa: PLC0415  # `picket --help` does not pay for it

    if owner is None:
        return None
    namespace, slash, workload = owner.partition("/")
    if not (namespace and slash and workload) or "/" in workload:
        raise click.UsageError(f"--of: {owner!r} is not NAMESPACE/WORKLOAD")
    return End(namespace=namespace, workload=workload)


def _save(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        places.write_private(path, text)
    except (OSError, places.PlaceError) as error:
        raise click.ClickException(f"{path}: progress cannot be kept there: {error}; name another place with --state") from error
