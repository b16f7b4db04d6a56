"""`picket demo`: runs the stages, shows what they found, stays up until Ctrl-C, and removes everything that it made."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from controlplane.api import places
from controlplane.api.client import ApiError, UnreachableError
from controlplane.demo import preflight
from controlplane.demo.driver import DriverError
from controlplane.demo.mesh import Mesh, MeshError
from controlplane.demo.network import NetworkError
from controlplane.demo.plan import Plan, PlanError, make_plan
from controlplane.demo.preflight import PreflightError
from controlplane.demo.progress import Progress
from controlplane.demo.report import Report, blocked_table, summary
from controlplane.demo.reviewer import Reviewer
from controlplane.demo.stages import StageError, Stages
from controlplane.demo.traces import Traces, clean_leftovers
from controlplane.topology.document import TopologyDocument, TopologyError, load_topology

#: What a shell gives a program that SIGINT ended.
INTERRUPTED = 130
WATCH_SECONDS = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAILURES = (StageError, MeshError, NetworkError, DriverError, ApiError, UnreachableError, OSError)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `picket demo` can be told.

    ``topology`` is a file, or the name of one that is shipped; ``None`` is Online Boutique. ``capture`` is auto, redirect or
    explicit. ``report`` is where the JSON report goes.
    """

    topology: Path | None = None
    capture: str = "auto"
    once: bool = False
    approve_all: bool = False
    report: Path | None = None


def run_demo(options: DemoOptions) -> int:
    """Run a demo. Returns 0 when its report is clean, 1 when not, 2 when it could not begin, 130 when it was interrupted early."""
    progress = Progress()
    if options.once and not options.approve_all and not sys.stdin.isatty():
        return _refuse("--once without a terminal: nobody could approve what is learned; say --approve-all as well")
    try:
        file = preflight.find_topology(options.topology)
        document = load_topology(file)
        capture, why = preflight.choose_capture(options.capture)
        preflight.check_envoy()
        preflight.check_directory()
        if options.report is not None:
            preflight.check_report(options.report)
        if leftovers := clean_leftovers():
            progress.say(f"Removed what {leftovers} earlier run{'s' if leftovers > 1 else ''} had left behind.")
    except (TopologyError, PreflightError) as error:
        return _refuse(str(error))
    with _no_signals():
        traces = Traces()
    try:
        plan = make_plan(document, traces.root, capture, traces.run, preflight.lowest_port(capture))
        preflight.check_ports(plan)
        _introduce(progress, file, document, capture, why)
        report = Report(topology=file.stem, capture=capture, services=len(document.topology.services))
        return asyncio.run(_run(options, plan, traces, progress, report))
    except (PlanError, PreflightError) as error:
        return _refuse(str(error))
    finally:
        with _no_signals():
            traces.clean()


def _refuse(reason: str) -> int:
    print(f"picket demo: {reason}", file=sys.stderr)  # noqa: T201  # a command's own last words
    return 2


def _introduce(progress: Progress, file: Path, document: TopologyDocument, capture: str, why: str) -> None:
    count = len(document.topology.services)
    how = "redirect: a network namespace each, nftables to Envoy" if capture == "redirect" else "explicit: a listener per upstream"
    reason = f" (no redirect: {escape(why)})" if why else ""
    progress.console.print(f"[bold]Picket demo[/bold]: {escape(file.stem)}, {count} services, {len(document.edges)} edges")
    progress.console.print(f"Capture by {how}{reason}", style="dim", soft_wrap=True)


async def _run(options: DemoOptions, plan: Plan, traces: Traces, progress: Progress, report: Report) -> int:
    """Everything between the first process and the last."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, task.cancel)
    finished = False
    mesh: Mesh | None = None
    try:
        mesh = Mesh(plan, traces)
        stages = Stages(mesh, progress, report, Reviewer(progress, approve_all=options.approve_all))
        failed = await _failure(stages)
        if failed:
            report.failures.append(failed)
        finished = True
        stays = not options.once and not failed
        _conclude(options, progress, report, stages, ended_early=bool(failed))
        if stays:
            _invite(progress, mesh)
            await _stay(mesh, progress)
    except asyncio.CancelledError:
        if not finished:
            progress.say("Interrupted.")
            return INTERRUPTED
    finally:
        for number in _ENDING:
            loop.add_signal_handler(number, lambda: None)  # a second Ctrl-C does not stop the clearing up
        if progress.console.is_terminal:
            progress.console.print()  # a terminal shows the ^C that was typed
        progress.say("Removing everything that the demo made.")
        if mesh is not None:
            with suppress(asyncio.CancelledError):
                await mesh.close()
            mesh.processes.stop()
    return 0 if report.clean else 1


async def _failure(stages: Stages) -> str:
    """Run the stages. Returns why they ended early; empty when they did not."""
    try:
        await stages.run()
    except _FAILURES as error:
        return str(error)
    return ""


def _conclude(options: DemoOptions, progress: Progress, report: Report, stages: Stages, *, ended_early: bool) -> None:
    console = progress.console
    if any(violation.verdict == "denied" for violation in stages.log):
        console.print()
        console.print(blocked_table(stages.log))
    console.print()
    summary(report, console, ended_early=ended_early)
    if options.report is not None:
        options.report.write_bytes(report.json())
        progress.say(f"Report: {escape(str(options.report))}")


def _invite(progress: Progress, mesh: Mesh) -> None:
    server = mesh.plane.server
    progress.console.print()
    progress.say(f"The console, in a browser: {mesh.console_link}")
    progress.say(f"  The link is good once; after that by the token in {places.token_file(mesh.processes.data)}")
    progress.say("The same in another terminal:")
    for command in ("violations --follow", "map", "policy show", "sidecars"):
        progress.say(f"  picket {command} --server {server}")
    if blocked := _blocked_call(mesh.plan):
        progress.say("A call that is no edge, to try by hand:")
        progress.say(f"  {blocked}")
    progress.say(f"Processes' own logs: {mesh.processes.logs}")
    progress.say("Everything stays up until Ctrl-C.")


def _blocked_call(plan: Plan) -> str:
    """A command that makes one of the calls which are blocked; empty where none is of a protocol for which there is a command."""
    for use in plan.unexpected():
        if use.protocol == "http":
            address, port = plan.dialled(use)
            inside = f"ip netns exec {plan.placed[use.source].namespace} " if plan.capture == "redirect" else ""
            return f"{inside}curl --silent --show-error http://{address}:{port}/"
    return ""


async def _stay(mesh: Mesh, progress: Progress) -> None:
    """Until somebody ends it; processes that end by themselves are told once."""
    told: set[str] = set()
    while True:
        for ended in mesh.processes.ended():
            if ended not in told:
                told.add(ended)
                progress.say(escape(ended))
        await asyncio.sleep(WATCH_SECONDS)


@contextmanager
def _no_signals() -> Iterator[None]:
    """Let nothing interrupt what has to be whole: a run's first trace, and the removal of the last."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
